"""Generators that the process tests run in another process; they must be importable there."""

import os
import time

import numpy as np

from napari_deformreg.errors import InputError
from napari_deformreg.result import Control, Step


def doubling(array):
    print("this must not get between the messages")
    for n in range(3):
        yield Step("refine", index=n)
    return {"pid": os.getpid(), "array": 2 * array, "again": array}


def failing(text):
    yield Step("prepare")
    raise InputError(text)


def crashing():
    yield Step("prepare")
    raise RuntimeError("engine on fire")


def dying():
    yield Step("prepare")
    os._exit(3)


def stuck(path):
    yield Step("prepare", message=str(os.getpid()))
    while True:
        time.sleep(0.05)
        with path.open("a") as file:
            file.write(".")


def obedient():
    while (yield Step("refine")) is not Control.FINISH_NOW:
        time.sleep(0.01)
    return np.float64(0.5)


class Parrot:
    """A partner of a conversation: keeps what it is told."""

    def __init__(self):
        print("nor must this get between the messages")
        self.heard = []

    def say(self, what):
        self.heard.append(what)
        return self.heard

    def spell(self, word):
        """Tell every letter ahead, and stumble over an x."""
        for letter in word:
            if letter == "x":
                raise InputError("no x")
            yield letter
        return word

    def refuse(self):
        raise InputError("I do not like that")

    def stumble(self):
        raise RuntimeError("oops")

    def pid(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)

    def die(self):
        os._exit(3)
