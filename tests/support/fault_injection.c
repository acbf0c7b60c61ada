/* Faults for one process: loaded with LD_PRELOAD by gan.testing.faults, idle until armed.
 *
 * Every call that changes what lies under `root` is counted: creating, writing, renaming, deleting, syncing. At the
 * wanted call the process is killed (a write is first done by half), or the calls begin to fail, or writes are cut
 * short. When nothing is wanted the calls are logged, with the content of each file at each of its syncs, so that the
 * disk after a power cut at any moment can be worked out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, LOG, KILL, NO_SPACE, SYNC_FAILS, SHORT_WRITES, READ_ONLY, SIGNALS };

static char root[4096], stash[4096];
static size_t root_length;
static int mode = OFF, log_fd = -1;
static long count, wanted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void gan_fault_arm(const char *root_path, int wanted_mode, long at, const char *log_path) {
    snprintf(root, sizeof root, "%s", root_path);
    root_length = strlen(root);
    count = 0;
    wanted = at;
    if (log_path && *log_path) {
        log_fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        snprintf(stash, sizeof stash, "%s.stash", log_path);
        syscall(SYS_mkdirat, AT_FDCWD, stash, 0755);
    }
    mode = wanted_mode;
}

long gan_fault_count(void) { return count; }

static int under_root(const char *path) {
    return mode != OFF && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

static int of_descriptor(int fd, char *out, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, size - 1);
    if (length < 0) return 0;
    out[length] = 0;
    return 1;
}

/* The absolute path that (dirfd, path) means, and whether it lies under the root. */
static int resolve(int dirfd, const char *path, char *out, size_t size) {
    char folder[4096];
    if (mode == OFF || !path) return 0;
    if (path[0] == '/') {
        snprintf(out, size, "%s", path);
    } else {
        if (dirfd == AT_FDCWD ? !getcwd(folder, sizeof folder) : !of_descriptor(dirfd, folder, sizeof folder)) return 0;
        snprintf(out, size, "%s/%s", folder, path);
    }
    return under_root(out);
}

static void write_log(char operation, const char *path, const char *other) {
    char line[9000];
    if (log_fd < 0) return;
    int length = snprintf(line, sizeof line, "%ld\t%c\t%s\t%s\n", count, operation, path, other ? other : "");
    syscall(SYS_write, log_fd, line, length);
}

static void keep_content(int fd) {
    char from[64], to[4200], buffer[65536];
    ssize_t got;
    if (log_fd < 0) return;
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    snprintf(to, sizeof to, "%s/%ld", stash, count);
    int in = syscall(SYS_openat, AT_FDCWD, from, O_RDONLY), copy;
    if (in < 0) return;
    copy = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    while ((got = syscall(SYS_read, in, buffer, sizeof buffer)) > 0) syscall(SYS_write, copy, buffer, got);
    syscall(SYS_close, in);
    syscall(SYS_close, copy);
}

/* Count one operation; 0: go on, else the errno that it fails with. Called with the lock held. */
static int strike(char operation, const char *path, const char *other) {
    if (mode == KILL && operation == 'S') return 0;  /* the next call finds the same folder: one kill does for both */
    count++;
    write_log(operation, path, other);
    if (mode == KILL && count == wanted && operation != 'W') kill(getpid(), SIGKILL);
    if (mode == SIGNALS && (count == wanted || count == wanted + 3)) kill(getpid(), count == wanted ? SIGTERM : SIGINT);
    if (mode == NO_SPACE && count >= wanted && strchr("CWMR", operation)) return ENOSPC;
    if (mode == READ_ONLY && count >= wanted && strchr("CWMRUD", operation)) return EROFS;
    if (mode == SYNC_FAILS && count >= wanted && operation == 'S') return EIO;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define STRUCK(operation, path, other)                 \
    pthread_mutex_lock(&lock);                         \
    int fault = strike(operation, path, other);        \
    if (fault) {                                       \
        pthread_mutex_unlock(&lock);                   \
        errno = fault;                                 \
        return -1;                                     \
    }

static int do_open(int dirfd, const char *path, int flags, mode_t permissions) {
    char full[8200];
    int changes = flags & (O_CREAT | O_TRUNC);
    if (!changes || !resolve(dirfd, path, full, sizeof full))
        return syscall(SYS_openat, dirfd, path, flags, permissions);
    STRUCK('C', full, NULL)
    int fd = syscall(SYS_openat, dirfd, path, flags, permissions);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define PERMISSIONS                          \
    mode_t permissions = 0;                  \
    if (flags & (O_CREAT | O_TMPFILE)) {     \
        va_list rest;                        \
        va_start(rest, flags);               \
        permissions = va_arg(rest, mode_t);  \
        va_end(rest);                        \
    }

int open(const char *path, int flags, ...) { PERMISSIONS return do_open(AT_FDCWD, path, flags, permissions); }
int open64(const char *path, int flags, ...) { PERMISSIONS return do_open(AT_FDCWD, path, flags, permissions); }
int openat(int fd, const char *path, int flags, ...) { PERMISSIONS return do_open(fd, path, flags, permissions); }
int openat64(int fd, const char *path, int flags, ...) { PERMISSIONS return do_open(fd, path, flags, permissions); }

FILE *fopen(const char *path, const char *how) {
    char full[8200];
    if ((how[0] == 'w' || how[0] == 'a') && resolve(AT_FDCWD, path, full, sizeof full)) {
        pthread_mutex_lock(&lock);
        int fault = strike('C', full, NULL);
        pthread_mutex_unlock(&lock);
        if (fault) {
            errno = fault;
            return NULL;
        }
    }
    return REAL(fopen)(path, how);
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    if (mode == OFF || !of_descriptor(fd, path, sizeof path) || !under_root(path)) {
        if (mode == LOG && fd == 1) {  /* what the process announces, in the order of what it does */
            char text[400];
            snprintf(text, sizeof text, "%.*s", (int)(size < 300 ? size : 300), (const char *)data);
            for (char *c = text; *c; c++) if (*c == '\n' || *c == '\t') *c = ' ';
            pthread_mutex_lock(&lock);
            write_log('N', text, NULL);
            pthread_mutex_unlock(&lock);
        }
        return syscall(SYS_write, fd, data, size);
    }
    pthread_mutex_lock(&lock);
    int fault = strike('W', path, NULL);
    if (mode == KILL && count == wanted) {
        if (size > 1) syscall(SYS_write, fd, data, size / 2);
        kill(getpid(), SIGKILL);
    }
    ssize_t done = -1;
    int error = fault;
    if (!fault) {
        done = syscall(SYS_write, fd, data, mode == SHORT_WRITES && size > 1 ? (size + 2) / 3 : size);
        error = errno;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    ssize_t total = 0;
    for (int i = 0; i < number; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return total ? total : -1;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

static int do_sync(int fd, int only_data) {
    char path[4096];
    struct stat status;
    long call = only_data ? SYS_fdatasync : SYS_fsync;
    if (mode == OFF || !of_descriptor(fd, path, sizeof path) || !under_root(path)) return syscall(call, fd);
    STRUCK('S', path, NULL)
    if (!fstat(fd, &status) && S_ISREG(status.st_mode)) keep_content(fd);
    pthread_mutex_unlock(&lock);
    return 0;  /* the real disk need not work for it */
}

int fsync(int fd) { return do_sync(fd, 0); }
int fdatasync(int fd) { return do_sync(fd, 1); }

#define LOCKED(operation, path, other, call) \
    STRUCK(operation, path, other)           \
    int done = call, error = errno;          \
    pthread_mutex_unlock(&lock);             \
    errno = error;                           \
    return done;

int renameat2(int old_fd, const char *old, int new_fd, const char *new, unsigned flags) {
    char from[8200], to[8200];
    int inside = resolve(new_fd, new, to, sizeof to);
    if (!(resolve(old_fd, old, from, sizeof from) | inside))
        return syscall(SYS_renameat2, old_fd, old, new_fd, new, flags);
    LOCKED('R', from, to, syscall(SYS_renameat2, old_fd, old, new_fd, new, flags))
}
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int old_fd, const char *old, int new_fd, const char *new) { return renameat2(old_fd, old, new_fd, new, 0); }

int unlinkat(int fd, const char *path, int flags) {
    char full[8200];
    if (!resolve(fd, path, full, sizeof full)) return syscall(SYS_unlinkat, fd, path, flags);
    LOCKED(flags & AT_REMOVEDIR ? 'D' : 'U', full, NULL, syscall(SYS_unlinkat, fd, path, flags))
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int fd, const char *path, mode_t permissions) {
    char full[8200];
    if (!resolve(fd, path, full, sizeof full)) return syscall(SYS_mkdirat, fd, path, permissions);
    LOCKED('M', full, NULL, syscall(SYS_mkdirat, fd, path, permissions))
}
int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }
