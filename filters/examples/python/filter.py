"""A push filter that keeps work in progress at home: no ref with one of the prefixes leaves the site."""

import functools
import json

from componentize_py_types import Err

prefixes: list[bytes] = []


def reported(function):
    """Turns an exception into an error that refgate shows. Uncaught it would be a trap without a word."""

    @functools.wraps(function)
    def wrapper(*arguments):
        try:
            return function(*arguments)
        except Err:
            raise
        except Exception as e:
            # The module `traceback` reads files, and there are none.
            place = e.__traceback__
            while place.tb_next:
                place = place.tb_next
            raise Err(f"{type(e).__name__}: {e}, at line {place.tb_lineno}") from None

    return wrapper


def pointer(*parts) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def problems(settings):
    """What is wrong with the settings, one line each. Fills `prefixes` on the way."""
    for key, given in settings.items():
        if key != "prefix":
            yield f"{pointer(key)}: unknown, the only setting is `prefix`"
            continue
        values = enumerate(given) if isinstance(given, list) else [(None, given)]
        for index, value in values:
            if value.startswith("refs/"):
                prefixes.append(value.encode())
            else:
                place = pointer(key) if index is None else pointer(key, index)
                yield f"{place}: does not begin with refs/"


class Lifecycle:
    @reported
    def configure(self, settings: str) -> None:
        wrong = list(problems(json.loads(settings)))
        if wrong:
            raise Err("\n".join(wrong))
        if not prefixes:
            prefixes.append(b"refs/heads/wip/")


class Push:
    @reported
    def filter(self, batch, verdicts) -> None:
        for prefix in prefixes:
            verdicts.discard(batch.select_prefix(prefix), "work-in-progress")
