"""What says that a file was generated, by what, and how that is verified.

* `gan.provenance.record`: what is stated about a file
* `gan.provenance.containers`: the record inside a file's own container
* `gan.provenance.keys`: the user's keys for signatures and marks
* `gan.provenance.folder`: the signed manifest of a folder of artefacts
* `gan.provenance.labels`: what happens to every file that a model writes
* `gan.provenance.c2pa`: C2PA manifests, with the extra ``gan-core[provenance]``
* `gan.provenance.verification`: files and folders examined for all of these and for marks

Marks are in `gan.marks`, and in the plugins whose own they are.
"""
