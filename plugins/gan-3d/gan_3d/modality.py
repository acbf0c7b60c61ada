"""The modality ``shape``: grids of voxels from meshes and voxel files, and meshes and pictures from grids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from gan.contracts import FieldSpec, Modality
from gan.errors import BadData
from gan.source import SourceFile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gan_3d.colours import codes, spread
from gan_3d.reading.grids import GRIDS, read_grids
from gan_3d.reading.meshes import MESHES, kept_voxels, read_triangles
from gan_3d.surface import Mesh, coloured, surface_at_zero, surface_of, surface_of_density
from gan_3d.views import photographs
from gan_3d.voxels import (
    Grid,
    centred,
    component_count,
    cropped,
    distances,
    filled,
    largest_component,
    occupied,
    shell,
    surface_voxels,
)
from gan_3d.writing import formats
from gan_3d.writing.page import viewer
from gan_3d.writing.picture import sheet

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples

LARGEST_SIDE = 0.9
"""Largest side of a normalised shape, as a share of the cube's."""
Y_UP = (".glb", ".gltf", ".obj", ".binvox")
"""Formats whose files usually have y up; the others have z up."""
FINER = 2
"""Signed distances of meshes are computed on a grid of so many times the resolution."""
TILE = 112
"""Side of a shape in a preview, in pixels."""
MOST_TILES = 64
"""Shapes in a preview."""
MOST_SEEN = 200_000
"""Faces of a mesh of which pictures are drawn."""


class ShapeConfig(BaseModel):
    """Settings of how shapes are converted to grids of voxels."""

    model_config = ConfigDict(extra="forbid")

    resolution: int = Field(32, ge=4, le=256, description="voxels along each side of a grid, or pixels of a picture")
    form: Literal["voxels", "distance", "views"] = Field(
        "voxels",
        description="voxels: occupied or not; distance: the signed distance of the centre of each voxel from the "
        "surface, in half sides of the cube, negative inside, which triplane-sdf learns; views: pictures of the shape "
        "by cameras around it, which eg3d learns",
    )
    colours: bool = Field(
        False,
        description="whether voxels have colours, which 3dgan then learns: those of palettes (.vox, .npz) and of "
        "vertices and faces of meshes, and grey where a file has none",
    )
    views: int = Field(8, ge=1, le=1024, description="pictures of a shape, for form=views")
    elevations: tuple[float, float] = Field(
        (0.0, 40.0), description="lowest and highest camera, in degrees above the ground, for form=views"
    )
    inside: Literal["solid", "shell"] = Field(
        "solid",
        description="solid: the surface and everything that a flood from outside does not reach; shell: the surface",
    )
    up: Literal["auto", "x", "y", "z"] = Field(
        "auto", description="axis that points up in the files; auto: y for GLB, glTF, OBJ and binvox, z for the others"
    )
    normalise: Literal["unit", "keep"] = Field(
        "unit",
        description="unit: the bounding box is centred, and its largest side is 0.9 of the cube's (grids are only "
        "scaled down); keep: coordinates -0.5 … 0.5 fill the cube, and grids must have the resolution",
    )
    labels: bool = Field(False, description="whether the first subfolder is read as the condition `label`")

    @model_validator(mode="after")
    def _check(self) -> ShapeConfig:
        low, high = self.elevations
        if not -90 <= low < high <= 90:
            raise ValueError(f"elevations are two numbers from -90 to 90, the lower first, not {low:g} and {high:g}")
        if self.colours and self.form != "voxels":
            raise ValueError(f"colours=true is for form=voxels; form={self.form} has those of the files without it")
        return self


class ShapeOptions(BaseModel):
    """Options of how shapes are written as files."""

    model_config = ConfigDict(extra="forbid")

    file: Literal["glb", "obj", "ply", "stl", "vox"] = Field("glb", description="format of the file")
    smooth: int = Field(0, ge=0, le=50, description="passes of smoothing of the mesh; 0 keeps the steps of the voxels")
    keep_all: bool = Field(False, description="write all components of a shape, not only the largest")


class Shape(Modality):
    """Shapes. A sample has ``voxels``, ``(x, y, z)`` bool with z up, and ``colours`` ``(x, y, z, 3)`` uint8 if the
    settings ask for them; or ``distance``, float32 of that shape, or ``picture`` with its camera's ``azimuth`` and
    ``elevation``; and ``label`` if the settings ask for it."""

    Config = ShapeConfig
    Options = ShapeOptions
    suffixes = (*MESHES, *GRIDS)
    metrics = ("shape-statistics", "chamfer", "nearest-iou")
    conditions: ClassVar[dict[str, str]] = {
        "label": "modality.labels=true",
        "azimuth": "modality.form=views",
        "elevation": "modality.form=views",
    }
    headline = ("MMD-CD", "1-NNA-CD", "connected", "watertight")
    trade_offs = (*Modality.trade_offs, ("MMD-CD", "COV-CD"))

    # ------------------------------------------------------------------ what the data are

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Find the names of the classes."""
        if not self.config.labels:
            return {}
        classes = sorted({file.folder for file in files} - {""})
        if len(classes) < 2:
            raise BadData("labels need two subfolders or more, one for each class; or set modality.labels=false")
        return {"classes": classes}

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """``voxels``, ``distance`` or ``picture`` and the conditions of its camera, and, if the settings ask for it,
        the condition ``label``."""
        cube = (self.config.resolution,) * 3
        fields = {"voxels": FieldSpec(cube, "bool", 0, 1, "occupied")}
        if self.config.colours:
            fields["colours"] = FieldSpec((*cube, 3), "uint8", 0, 255, "red, green, blue")
        if self.config.form == "distance":
            fields = {"distance": FieldSpec(cube, "float32", -2, 4, "half sides of the cube", finer=True)}
        elif self.config.form == "views":
            low, high = self.config.elevations
            fields = {
                "picture": FieldSpec((3, *cube[:2]), "uint8", 0, 255, "intensity"),
                "azimuth": FieldSpec((), "float32", 0, 360, "degrees around z", condition=True, any_value=True),
                "elevation": FieldSpec(
                    (), "float32", low, high, "degrees above the ground", condition=True, any_value=True
                ),
            }
        if self.config.labels:
            names = tuple(self.facts.get("classes", ()))
            fields["label"] = FieldSpec(
                (), "int64", 0, max(0, len(names) - 1), "class index", names=names, condition=True
            )
        return fields

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """The occupied voxels and the components of a file's shapes."""
        if self.config.form == "views":
            return {"pictures": sum(1 for _ in self.read(file))}
        grids = [occupied(sample) for sample in self.read(file)]
        return {
            "occupied voxels": sum(int(grid.sum()) for grid in grids),
            "components": sum(component_count(grid) for grid in grids),
        }

    # ------------------------------------------------------------------ files -> samples

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield the shapes of one file; see `ShapeConfig` for the rules.

        A mesh may be open and may intersect itself: its inside is what a flood from outside does not reach. A hole
        smaller than a voxel does no harm; through a larger one the flood enters, and only the surface is occupied.
        """
        label: Sample = {}
        if self.config.labels:
            classes = self.facts["classes"]
            if file.folder not in classes:
                raise BadData("is not in a class folder", file.name)
            label["label"] = np.asarray(classes.index(file.folder), np.int64)
        up = ("y" if file.suffix in Y_UP else "z") if self.config.up == "auto" else self.config.up
        side = self.config.resolution
        if self.config.form == "views":
            for mesh in self._meshes(file, up):
                for seen in photographs(mesh, side, self.config.views, self.config.elevations):
                    yield {**seen, **label}
            return
        if self.config.form == "voxels":
            for grid, coded in self._grids(file, up, side):
                colours = {"colours": spread(coded, grid)} if self.config.colours else {}
                yield {"voxels": grid, **colours, **label}
            return
        times = FINER if file.suffix in MESHES and kept_voxels(file, side) is None else 1
        for grid, _ in self._grids(file, up, times * side):
            yield {"distance": distances(grid, times), **label}

    def read_condition(self, name: str, text: str) -> float:
        """Azimuths go around: -90 is 270."""
        value = super().read_condition(name, text)
        return value % 360 if name == "azimuth" else value

    def _meshes(self, file: SourceFile, up: str) -> Iterator[Mesh]:
        """The surfaces of a file's shapes in the cube, as they are seen by cameras."""
        if file.suffix in MESHES:
            triangles, colours = read_triangles(file)
            if len(triangles) > MOST_SEEN:
                raise BadData(f"{len(triangles):,} faces, more than the {MOST_SEEN:,} that are drawn", file.name)
            yield _welded(self._placed(_turned_points(triangles, up), file), colours)
            return
        for grid in self._voxels(file, up, None):
            yield _surface(grid != 0, grid, solid=self.config.inside == "solid")

    def _placed(self, triangles: NDArray[np.float64], file: SourceFile) -> NDArray[np.float64]:
        """Triangles in the cube -0.5 … 0.5, by the rule of `ShapeConfig.normalise`."""
        if self.config.normalise == "unit":
            return normalised(triangles, file.name)
        if np.abs(triangles).max() > 0.5:
            raise BadData("leaves the cube -0.5 … 0.5; set modality.normalise to unit", file.name)
        return triangles

    def _grids(self, file: SourceFile, up: str, side: int) -> Iterator[tuple[Grid, NDArray[Any]]]:
        """The occupied voxels of a file's shapes in a cube of `side` voxels, and codes of some of them or booleans."""
        if file.suffix not in MESHES:
            for coded in self._voxels(file, up, side):
                yield filled(coded != 0) if self.config.inside == "solid" else surface_voxels(coded != 0), coded
            return
        triangles, colours = read_triangles(file)
        triangles = _turned_points(triangles, up)
        kept = kept_voxels(file, side) if up == "y" and self.config.normalise == "unit" else None
        painted = codes(colours) if self.config.colours and colours is not None else None
        grid: NDArray[Any] | None = kept
        if kept is None or painted is not None:
            try:
                grid = shell(self._placed(triangles, file), side, painted)
            except BadData as error:
                raise BadData(error.reason, file.name) from error
        assert grid is not None
        found = grid != 0 if kept is None else kept
        if self.config.inside == "solid":
            yield filled(found), grid
        else:
            yield found if kept is None else surface_voxels(found), grid

    def _voxels(self, file: SourceFile, up: str, side: int | None) -> Iterator[NDArray[Any]]:
        """The grids of a file of voxels in a cube of `side` voxels, booleans or codes; None: as large as needed."""
        for grid in read_grids(file, coloured=self.config.colours or self.config.form == "views"):
            grid = _turned_grid(grid, up)
            if not grid.any():
                raise BadData("has no occupied voxel", file.name)
            if self.config.normalise == "unit":
                block = cropped(grid, grid != 0)
                grid = centred(block, side or round(max(block.shape) / LARGEST_SIDE))
            elif grid.shape != (side or len(grid),) * 3:
                raise BadData(f"is {' x '.join(map(str, grid.shape))} and modality.resolution is {side}", file.name)
            yield grid

    # ------------------------------------------------------------------ samples -> files

    def kept(self, grid: Grid, options: BaseModel | None = None) -> Grid:
        """The voxels of a sample that are written: the largest component, without cavities if shapes are solid."""
        chosen = options if isinstance(options, ShapeOptions) else ShapeOptions()
        grid = grid if chosen.keep_all else largest_component(grid)
        return filled(grid) if self.config.inside == "solid" else grid

    def mesh(self, sample: Sample, options: BaseModel | None = None) -> Mesh:
        """The surface of a sample, as it is written."""
        chosen = options if isinstance(options, ShapeOptions) else ShapeOptions()
        grid = self.kept(occupied(sample), options)
        if "distance" in sample:
            return surface_at_zero(sample["distance"], grid, chosen.smooth)
        if "density" in sample:
            return coloured(surface_of_density(sample["density"], grid, chosen.smooth), sample["colours"])
        return _surface(grid, sample.get("colours"), chosen.smooth)

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one file. A sample without occupied voxels gives a file without faces.

        Pictures of a sample are files beside it: ``stem.png``, and ``stem-view-0.png`` … of its ``views``.
        """
        kind = options.file if isinstance(options, ShapeOptions) else "glb"
        if "picture" in sample:
            pictures = {"": sample["picture"]}
            pictures |= {f"-view-{index}": view for index, view in enumerate(sample.get("views", ()))}
            for name, picture in pictures.items():
                _image(picture).save(stem.with_name(f"{stem.name}{name}.png"))
            if "density" not in sample:
                return stem.with_name(f"{stem.name}.png")
        if kind == "vox":
            content = formats.vox(occupied(sample), sample.get("colours"))
        elif kind == "glb":
            content = formats.glb(self.mesh(sample, options), self.kept(occupied(sample), options))
        else:
            content = {"obj": formats.obj, "ply": formats.ply, "stl": formats.stl}[kind](self.mesh(sample, options))
        path = stem.with_name(f"{stem.name}.{kind}")
        path.write_bytes(content)
        return path

    def is_empty(self, sample: Sample) -> bool:
        """Whether there is no surface: no voxel is occupied, or all are; a picture alone: one colour."""
        if "picture" in sample and "density" not in sample:
            return super().is_empty({"picture": sample["picture"]})
        grid = occupied(sample)
        return not grid.any() or bool(grid.all())

    def preview(self, samples: Samples) -> Image.Image:
        """Shaded pictures of the first 64 shapes from a fixed camera, of all of their components; or their pictures."""
        if "picture" in samples:
            pictures = samples["views"] if "views" in samples else samples["picture"][:, None]
            return _contact_sheet(pictures[:MOST_TILES])
        solid = self.config.inside == "solid"
        grids = occupied(samples)[:MOST_TILES]
        if "distance" in samples:
            fields = samples["distance"][:MOST_TILES]
            kept = [filled(grid) if solid else grid for grid in grids]
            return sheet([surface_at_zero(field, grid) for field, grid in zip(fields, kept, strict=True)], TILE)
        colours = samples.get("colours", [None] * len(grids))
        meshes = [_surface(grid, shades, solid=solid) for grid, shades in zip(grids, colours, strict=False)]
        return sheet(meshes, TILE)

    def show(self, file: SourceFile, link: str, folder: Path) -> str:
        """A viewer that turns the shape; its script is written into `folder`. A picture is shown as it is."""
        if file.suffix == ".png":
            return super().show(file, link, folder)
        if file.suffix in MESHES:
            triangles, colours = read_triangles(file)
            triangles = _turned_points(triangles, "y" if file.suffix in Y_UP else "z")
            mesh = _welded(normalised(triangles, file.name), colours)
        else:
            grid = next(read_grids(file, coloured=True))
            if not grid.any():
                return viewer(surface_of(np.zeros((2, 2, 2), np.bool_)), "", folder)
            grid = centred(grid, max(grid.shape))
            mesh = _surface(grid != 0, grid)
        return viewer(mesh, Path(file.name).stem, folder)


def normalised(triangles: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Triangles ``(F, 3, 3)`` whose bounding box is centred at 0 and has a largest side of 0.9."""
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        size = float((high - low).max())
        if not 1e-30 < size < 1e30:
            raise BadData(f"its largest side is {size:g}", name)
        scaled: NDArray[np.float64] = (triangles - (low / 2 + high / 2)) * (LARGEST_SIDE / size)
        return scaled


def _turned_points(triangles: NDArray[np.float64], up: str) -> NDArray[np.float64]:
    """Turn the axis `up` into z."""
    x, y, z = (triangles[..., axis] for axis in range(3))
    turned: NDArray[np.float64] = np.stack({"x": (y, z, x), "y": (x, -z, y), "z": (x, y, z)}[up], -1)
    return turned


def _turned_grid(grid: Grid, up: str) -> Grid:
    if up == "y":
        return grid.transpose(0, 2, 1)[:, ::-1]
    return grid.transpose(1, 2, 0) if up == "x" else grid


def _image(picture: NDArray[np.uint8]) -> Image.Image:
    """``(3, side, side)`` -> a picture."""
    return Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))


def _contact_sheet(pictures: NDArray[np.uint8]) -> Image.Image:
    """Pictures ``(N, V, 3, side, side)``, the V of a shape beside each other, as square as possible."""
    count, views, _, side, _ = pictures.shape
    columns = max(1, round(math.sqrt(count / views)))
    rows = math.ceil(count / columns)
    times = max(1, TILE // side)
    whole = np.full((3, rows * (side + 1) + 1, columns * (views * side + 1) + 1), 226, np.uint8)
    for index, shape in enumerate(pictures):
        top, left = 1 + index // columns * (side + 1), 1 + index % columns * (views * side + 1)
        whole[:, top : top + side, left : left + views * side] = np.concatenate(list(shape), 2)
    image = _image(whole)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _surface(grid: Grid, colours: NDArray[Any] | None, smooth: int = 0, *, solid: bool = False) -> Mesh:
    """The surface of all components of a grid, with the colours ``(R, R, R, 3)`` or the codes ``(R, R, R)`` of its
    voxels; None or booleans: without."""
    mesh = surface_of(grid, smooth, keep_all=True, solid=solid)
    if colours is None or colours.dtype == np.bool_ or not len(mesh.faces):
        return mesh
    coded = np.where(grid, codes(colours) if colours.ndim == 4 else colours, 0)
    return coloured(mesh, spread(coded, np.ones_like(grid)))


def _welded(triangles: NDArray[np.float64], colours: NDArray[np.uint8] | None) -> Mesh:
    """A mesh whose corners of equal places and colours are one vertex; colours ``(F, 3)`` of the triangles."""
    rows = triangles.reshape(-1, 3)
    if colours is not None:
        rows = np.concatenate([rows, np.repeat(colours, 3, axis=0)], 1)
    points, faces = np.unique(rows, axis=0, return_inverse=True)
    shades = None if colours is None else points[:, 3:].astype(np.uint8)
    return Mesh(points[:, :3], faces.reshape(-1, 3).astype(np.int64), shades)
