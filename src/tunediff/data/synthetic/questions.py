"""A synthetic data set of short reports with questions whose answer is a span of the report, or that have none.

    title     Mill Lane in Ashford
    context   People in Mill Lane in Ashford remember the day. At noon, Anna was painting a red chair in the yard. ...
    question  Where was Anna painting a red chair?                    in the yard
    question  Where was Ben painting a red chair?                     none: it was not Ben

A report describes events: who did what, with what, where and when, with some parts omitted. A question names some parts
of an event and asks for another. Its answer is that part of the matching event; it has none if no event matches, or if
the matching event omits the part. Names, things and places of a question without an answer also occur in the report,
and the parts of a question are sampled before it is decided whether it has an answer. So neither the question alone nor
its words in the report reveal whether there is an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of

STREETS = (
    *("Mill Lane", "Church Street", "Station Road", "High Street", "Park Avenue", "Bridge Street", "Castle Road"),
    *("School Lane", "Market Square", "Orchard Row", "Garden Street", "Harbour Road", "Forest Lane", "Hill Street"),
)
TOWN_STARTS = (
    *("Ash", "Birch", "Clay", "Dun", "Elm", "Fair", "Green", "Hazel", "King", "Lang", "Mar", "Nor", "Oak", "Penn"),
    *("Red", "Stan", "Thorn", "Under", "West", "Winter"),
)
TOWN_ENDS = ("ford", "ton", "field", "ham", "bury", "dale", "worth", "wick", "port", "well", "stead", "combe")

NAMES = (
    *("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jonas", "Karen", "Leo", "Maria"),
    *("Noah", "Olga", "Peter", "Rosa", "Simon", "Tina", "Victor"),
)
DEEDS = ("painting", "carrying", "selling", "repairing", "washing", "drawing", "hiding", "cleaning")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")
THINGS = ("chair", "kite", "bicycle", "lamp", "basket", "clock", "boat", "drum", "ladder", "mirror", "table", "cart")
PLACES = (
    *("in the yard", "in the park", "at the market", "at the station", "near the bridge", "behind the church"),
    *("in the garden", "at the harbour", "near the school", "behind the mill"),
)
TIMES = ("in the morning", "at noon", "in the afternoon", "in the evening", "at night", "at dawn")

QUESTION_WORDS = ("who", "what", "where", "when")
"""The parts of an event that a question can ask for."""

WITHOUT_ANSWER = ("not_said", "no_such_event")
"""Why a question has no answer."""

Event = dict[str, str]
"""An event by its parts: who, deed, what, and where and when if the report says so."""


# --- meaning ---------------------------------------------------------------------------------------------------


def answers(wanted: str, named: Mapping[str, str], events: Sequence[Event]) -> set[str]:
    """Return the values of the wanted part in all events that have the named parts.

    If there is no value, the question has no answer; if there are several, it is ambiguous.
    """
    return {event[wanted] for event in events if wanted in event and fits(event, named)}


def fits(event: Event, named: Mapping[str, str]) -> bool:
    """Return whether the report states all named parts of an event."""
    return all(event.get(part) == value for part, value in named.items())


# --- words -----------------------------------------------------------------------------------------------------


def _pieces(event: Event, when_first: bool) -> Iterator[tuple[str, str]]:
    """Yield the pieces of the sentence about an event, each with the part of the event that it expresses."""
    when = event.get("when")
    if when and when_first:
        yield "when", when[0].upper() + when[1:]
        yield "", ", "
    yield "who", event["who"]
    yield "", f" was {event['deed']} "
    yield "what", event["what"]
    for part in ("where",) if when_first else ("where", "when"):
        if part in event:
            yield "", " "
            yield part, event[part]
    yield "", "."


def ask(wanted: str, named: Mapping[str, str]) -> str:
    """Return the question for one part of an event, given other parts, which always include the deed."""
    rest = "".join(f" {named[part]}" for part in ("what", "where", "when") if part in named)
    if wanted == "who":
        return f"Who was {named['deed']}{rest}?"
    return f"{wanted.capitalize()} was {named['who']} {named['deed']}{rest}?"


def _golds(context: str, text: str, start: int) -> dict[str, list[object]]:
    """Return an answer in the hub's layout of SQuAD: the full text, and without its first word ("in", "a")."""
    texts = [context[start : start + len(text)]]
    starts: list[object] = [start]
    first, _, rest = text.partition(" ")
    if rest:
        texts.append(rest)
        starts.append(start + len(first) + 1)
    return {"text": [*texts], "answer_start": starts}


# --- reports ---------------------------------------------------------------------------------------------------


def _events(rng: Random) -> list[Event]:
    """Return events that share people, deeds, things, places and times, so that they are easily confused."""
    pools = {
        "who": rng.sample(NAMES, 3),
        "deed": rng.sample(DEEDS, 2),
        "what": [
            f"a {colour} {thing}" for colour, thing in zip(rng.sample(COLOURS, 3), rng.sample(THINGS, 3), strict=True)
        ],
        "where": rng.sample(PLACES, 3),
        "when": rng.sample(TIMES, 3),
    }
    events: list[Event] = []
    while len(events) < 5:
        event = {part: rng.choice(pool) for part, pool in pools.items()}
        for part in ("where", "when"):
            if rng.random() < 0.3:
                del event[part]
        # Nobody does the same with the same thing twice, because one event would seem to complete the other.
        if all(any(event[part] != other[part] for part in ("who", "deed", "what")) for other in events):
            events.append(event)
    return events


def _report(title: str, events: Sequence[Event], rng: Random) -> tuple[str, list[dict[str, int]]]:
    """Return the report of the events, and the start of each part of each event."""
    context = f"People in {title} remember the day."
    places: list[dict[str, int]] = []
    for event in events:
        context += " "
        place = {}
        for part, words in _pieces(event, rng.random() < 0.5):
            if part:
                place[part] = len(context)
            context += words
        places.append(place)
    return context, places


def _named(wanted: str, rng: Random) -> list[str]:
    """Return the parts that a question names in addition to the deed."""
    if wanted == "who":
        return rng.choice((["what"], ["what", "where"], ["what", "when"], ["where"]))
    if wanted == "what":
        return rng.choice((["who"], ["who", "where"], ["who", "when"]))
    return rng.choice((["who", "what"], ["who", "what", "when" if wanted == "where" else "where"]))


def _question(events: Sequence[Event], answerable: bool, rng: Random) -> tuple[str, dict[str, str], str] | None:
    """Return the part that a question asks for, the parts that it names, and a tag; None if none was found."""
    wanted = rng.choice(QUESTION_WORDS)
    parts = ["deed", *_named(wanted, rng)]
    for expected in [wanted] if answerable else rng.sample(WITHOUT_ANSWER, 2):
        for _ in range(30):
            named = {part: rng.choice([event[part] for event in events if part in event] or [""]) for part in parts}
            found = answers(wanted, named, events)
            tag = wanted if found else WITHOUT_ANSWER[not any(fits(event, named) for event in events)]
            if "" not in named.values() and len(found) < 2 and tag == expected:
                return wanted, named, tag
    return None


def _rows(title: str, rng: Random) -> list[SyntheticRow]:
    """Return the questions of one report, half of them with an answer."""
    events = _events(rng)
    context, places = _report(title, events, rng)
    done: list[SyntheticRow] = []
    for answerable in (True, False, True, False, True, False):
        found = _question(events, answerable, rng)
        if found is None:
            continue
        wanted, named, tag = found
        golds: dict[str, list[object]] = {"text": [], "answer_start": []}
        if answerable:
            [text] = answers(wanted, named, events)
            placed = zip(events, places, strict=True)
            start = next(place[wanted] for event, place in placed if wanted in event and fits(event, named))
            golds = _golds(context, text, start)
        texts = {"title": title, "context": context, "question": ask(wanted, named)}
        done.append({**texts, "answers": golds, "tags": [tag]})
    return done


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return the questions of three reports with a title that belongs to the split, or none."""
    title = f"{rng.choice(STREETS)} in {rng.choice(TOWN_STARTS)}{rng.choice(TOWN_ENDS)}"
    return [row for _ in range(3) for row in _rows(title, rng)] if split_of(title) == split else []


rows = rows_of("questions", ("context", "question"), _draw)
"""Rows in the hub's layout of SQuAD without an id, about half of them without an answer.

{"title": str, "context": str, "question": str, "answers": {"text": [str, ...], "answer_start": [int, ...]},
"tags": [one of QUESTION_WORDS or of WITHOUT_ANSWER]}
"""
