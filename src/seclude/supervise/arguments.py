"""A call's arguments, typed, and who called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.abi.prototypes import Parameter, Prototype
    from seclude.kernel.proc import Status

__all__ = ["Argument", "Arguments", "Credentials"]


class Argument(int):
    """An argument's value as the kernel reads it (its width and sign), that also knows its names: ``str()`` gives ``O_RDONLY|O_CLOEXEC``."""

    # An int has no room for slots of a subclass.
    _arch: Architecture
    _parameter: Parameter

    @classmethod
    def _of(cls, raw: int, parameter: Parameter, arch: Architecture) -> Argument:
        signed = parameter.signed and raw >> parameter.width - 1
        made = cls(raw - (1 << parameter.width) if signed else raw)
        made._parameter = parameter
        made._arch = arch
        return made

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self._parameter.name

    def __str__(self) -> str:
        from seclude.abi.constants import decode

        return decode(self._parameter, int(self) & (1 << self._parameter.width) - 1, self._arch)


class Arguments:
    """A call's arguments by name (the man page's, or the kernel's) or by index. A call without a prototype has its raw registers, by index."""

    __slots__ = ("_arch", "_prototype", "_raw")

    def __init__(self, raw: tuple[int, ...], prototype: Prototype | None, arch: Architecture | None) -> None:
        self._raw = raw
        self._prototype = prototype
        self._arch = arch

    def __len__(self) -> int:
        return len(self._raw) if self._prototype is None else len(self._prototype.parameters)

    def parameter(self, key: str | int) -> Parameter:
        """What is known of one parameter. Raises KeyError or IndexError."""
        if self._prototype is None:
            raise KeyError(key)
        if isinstance(key, int):
            return self._prototype.parameters[key]
        found = self._prototype.parameter(key)
        if found is None:
            names = ", ".join(parameter.name for parameter in self._prototype.parameters)
            raise KeyError(f"{self._prototype.call} has no parameter {key!r}; it has {names or 'none'}")
        return found

    def __getitem__(self, key: str | int) -> Argument | int:
        if self._prototype is None or self._arch is None:
            if isinstance(key, int):
                return self._raw[key]
            raise KeyError(f"no prototype is known for this call: its registers have no names, so {key!r} is none of them")
        parameter = self.parameter(key)
        return Argument._of(parameter.value(self._raw), parameter, self._arch)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return () if self._prototype is None else tuple(parameter.name for parameter in self._prototype.parameters)


class Credentials:
    """Who the calling thread is: effective ``uid`` and ``gid``, ``fsuid`` and ``fsgid``, supplementary ``groups``, effective ``capabilities`` (a bit mask)."""

    __slots__ = ("capabilities", "fsgid", "fsuid", "gid", "groups", "uid")

    def __init__(self, status: Status) -> None:
        self.uid, self.gid = status.number("Uid", index=1), status.number("Gid", index=1)
        self.fsuid, self.fsgid = status.number("Uid", index=3), status.number("Gid", index=3)
        self.groups = tuple(int(word) for word in status.fields.get("Groups", "").split())
        self.capabilities = status.capabilities("Eff") or 0
