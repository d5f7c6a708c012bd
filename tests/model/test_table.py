"""The table of functions: each of ours exists, and no function that bears a kernel's name is missing from it; and what does not hold is told."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import seclude.model
from model_support import always, of, ready
from seclude.bpf import codes
from seclude.errors import InternalError
from seclude.model import KernelModel, uapi
from seclude.model.functions import FUNCTIONS
from seclude.model.invariants import check, violations


def found(path):
    module, *names = path.split(".")
    value = importlib.import_module(f"seclude.model.{module}")
    for name in names:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("path", sorted(set(FUNCTIONS.values())))
def test_ours_exists_and_says_what_it_does(path):
    value = found(path)
    assert callable(value)
    assert inspect.getdoc(value)


def test_functions_of_kernel_names_are_in_the_table():
    named = set(FUNCTIONS.values())
    for info in pkgutil.iter_modules(seclude.model.__path__):
        module = importlib.import_module(f"seclude.model.{info.name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and name.startswith("seccomp_"):
                assert f"{info.name}.{name}" in named, f"{info.name}.{name} is not in FUNCTIONS"


def loaded():
    kernel = KernelModel()
    task = ready(kernel)
    kernel.seccomp(task, 1, 8, of(codes.SECCOMP_RET_USER_NOTIF, "mkdir"))
    kernel.seccomp(task, 1, 0, always(codes.SECCOMP_RET_ALLOW))
    kernel.fork(task)
    return kernel, task


def lose_reference(kernel, task):
    task.filter.refs += 1


def lose_user(kernel, task):
    task.filter.users -= 1


def more_users_than_references(kernel, task):
    task.filter.prev.users = task.filter.prev.refs + 1


def forget(kernel, task):
    task.filter = None


def miscount(kernel, task):
    task.filter_count += 1


def use_after_free(kernel, task):
    kernel.filters.remove(task.filter)


def no_mode(kernel, task):
    task.mode = 0


@pytest.mark.parametrize("damage", [lose_reference, lose_user, more_users_than_references, forget, miscount, use_after_free, no_mode])
def test_every_damage_is_found(damage):
    kernel, task = loaded()
    assert violations(kernel) == []
    damage(kernel, task)
    assert violations(kernel)
    with pytest.raises(InternalError, match="impossible"):
        check(kernel)


@pytest.mark.parametrize("name", ["tree", "notify", "interrupted", "tsync"])
def test_the_pictures_of_the_documentation_are_what_the_model_draws(name):
    from seclude.model.draw import svg
    from seclude.model.gallery import pictures
    from support import ROOT

    kept = (ROOT / "docs" / "explanation" / "images" / f"{name}.svg").read_text(encoding="utf-8")
    assert kept == svg(pictures(name)), f"draw it again: seclude model --draw {name} --format svg -o docs/explanation/images/{name}.svg"


def test_the_numbers_of_seccomp_have_one_home():
    assert not set(uapi.__all__) & set(codes.__all__)
    needed = set(uapi.ACTION_NAMES)  # for their names
    assert not {name for name, value in vars(uapi).items() if name in codes.__all__ and value not in needed}
