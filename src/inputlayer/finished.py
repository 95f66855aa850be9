"""What a comparison has finished, in a folder: one file for each input layer and seed, never a half of one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inputlayer import store
from inputlayer.errors import ArtefactError, InputLayerError, OptionError, shorten

_KIND = "part of a comparison"


@dataclass(frozen=True)
class Part:
    """One input layer trained with one seed, and scored; or all baselines.

    numbers  JSON values that belong to it; arrays: by name, such as the losses (B, K) and counts (B, K)
    """

    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Finished:
    """The finished parts of a comparison, each known by a name and a seed. Without a folder nothing is kept.

    `begin` makes room in the folder: it is called once nothing can be refused any more, before anything is trained.

    Raises
    ------
    OptionError
        If `folder` holds parts already, `resume` is False and there is no `begin`; or it is to be gone on with and
        there is no folder.
    """

    folder: Path | None
    resume: bool = False
    begin: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if self.folder is None:
            if self.resume:
                raise OptionError("resume=True needs run=..., the folder that holds what was finished")
        elif not self.resume and self.begin is None and any(self.folder.glob("*.safetensors")):
            raise OptionError(
                f"{self.folder} holds parts of a comparison: go on with it by resume=True, or choose another run=..."
            )

    def load(self, wanted: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[tuple[str, int], Part]:
        """Those parts of `wanted` that are there. `wanted` names the circumstances of each, which must be the same.

        Raises
        ------
        InputLayerError
            Naming all that differs between then and now.
        ArtefactError
            If a file is damaged.
        """
        found: dict[tuple[str, int], Part] = {}
        differs: dict[str, list[str]] = {}
        for (name, seed), now in wanted.items() if self.folder is not None and self.resume else ():
            path = self._path(name, seed)
            if not path.exists():
                continue
            header, arrays = store.read(path)
            if (header.get("kind"), header.get("name"), header.get("seed")) != (_KIND, name, seed):
                raise ArtefactError(f"{path} is not the part of a comparison that its name says. Take it away")
            for text in _differences(header["circumstances"], json.loads(store.canonical(now))):
                differs.setdefault(text, []).append(name)
            found[name, seed] = Part(header["numbers"], arrays)
        if differs:
            named = [f"{text} ({', '.join(dict.fromkeys(names))})" for text, names in differs.items()]
            raise InputLayerError(
                f"{self.folder} cannot be gone on with, because "
                + "; ".join(named)
                + ". Use what was used then, or choose another run=..."
            )
        return found

    def save(self, name: str, seed: int, circumstances: Mapping[str, Any], part: Part) -> None:
        """Keep `part`: its whole file is there, or none."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"kind": _KIND, "name": name, "seed": seed, "circumstances": circumstances, "numbers": part.numbers}
        store.write(self._path(name, seed), header, part.arrays)

    def _path(self, name: str, seed: int) -> Path:
        assert self.folder is not None
        # The hash tells names apart that differ in what no file's name can hold.
        readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
        return self.folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{seed}.safetensors"


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs; of tables only where nothing else does, for they are known by what the layer makes of them."""
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    others = [name for name in names if not name.endswith(" table")]
    for name in others or names:
        if name.endswith(" table"):
            yield f"the {name} is another one"
        else:
            yield from _told(name, then.get(name), now.get(name))


def _told(name: str, then: Any, now: Any) -> Iterator[str]:
    """What differs under `name`, part by part where it has named parts."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for part in sorted({*then, *now}):
            if then.get(part) != now.get(part):
                yield from _told(f"{name} {part}", then.get(part), now.get(part))
    else:
        yield f"{name} was {shorten(then)}, is {shorten(now)}"
