"""Every exception of the library: what was given cannot be used, or something outside of the program failed.

In: what went wrong, in words. Out: exceptions whose message is one line that says what, where and what to do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

MAX_FLOAT32 = 3.4e38  # in which all numbers of a run are computed
MAX_WIDTH = 2**16  # no layer, and no mean over codes, is as wide
MAX_INT32 = 2**31  # steps and epochs are counted in int32


def printable(text: str) -> str:
    """One line, whatever names it quotes: what would break it or steer a terminal is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: BaseException) -> str:
    """Kind and first line of an error that somebody else raised."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


class Remedy(StrEnum):
    """What an error's message advises, in the words of somebody who calls the library.

    A command, whose user gives options, says each in its own words: `jaxvae.commands.advice` has them.
    """

    ANOTHER_FOLDER = "choose another folder"
    SHARED_FOLDER = "choose a folder that all hosts share"
    START_ANEW = "pass fresh=True to start anew"
    STUDY = "jaxvae.study.Study"
    TRAIN_AGAIN = "train and write the study again"
    CHECK_DATA = "check data_dir or $JAXVAE_DATA_DIR"
    PASS_DATA = "pass its parent as data_dir"
    NAME_PROCESSES = "pass each the coordinator's HOST:PORT, the number of processes and its own index"
    SAME_FOR_ALL = "pass the same to all"
    KNOW_PART = "import its module, or hand it in: parts=[…]"


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one line that says what, where and what to do."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class ConfigError(InputError):
    """A configuration that no run can have."""


class UnknownPartError(ConfigError):
    """A part that nobody has registered or handed in."""


def quoted(value: Any) -> str:
    """A value that was given, as a message quotes it: on one line and not too long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python does not write out whole numbers of thousands of digits
        text = f"a number of {value.bit_length():,} bits"
    return text if len(text) <= 80 else f"{text[:77]}…"


def is_whole(value: Any, at_least: int, below: int | None = None) -> bool:
    """Whether it is an integer within these limits; `True` is none."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= at_least and (below is None or value < below)


class DataError(InputError):
    """A dataset that cannot be had, or files that are not what they should be."""


class AbsentError(DataError):
    """The data are nowhere to be had, as opposed to had and damaged."""


class CheckpointError(InputError):
    """A run's folder, or a sweep's, that is missing, damaged or from another format."""


class LockedError(InputError):
    """Another process is writing into the folder."""


class FaultError(RuntimeError):
    """Something outside of the program failed while it ran; the message is one line."""


class WorkerError(FaultError):
    """A process that computed for this one was ended from outside."""


class PeerError(FaultError):
    """Another process, with which this one trains, was lost."""


class StorageError(FaultError):
    """The disk is full or refuses, or a folder is no longer there."""
