"""Words that generated chats are filled with, drawn by a seeded generator."""

from __future__ import annotations

import random
import string


def _listed(text: str) -> list[str]:
    return text.split(", ")


FIRST = _listed(
    "Ada, Aisha, Alan, Amir, Ana, Anton, Asha, Bela, Bo, Carla, Chen, Clara, Dana, David, "
    "Diego, Elif, Emma, Erik, Eva, Farah, Felix, Fiona, Grace, Hana, Hugo, Ida, Igor, Ines, "
    "Ivan, Jack, Jana, Jonas, Julia, Kai, Kofi, Lars, Leila, Lena, Liam, Lucia, Maja, Mara, "
    "Marco, Mei, Mia, Milan, Nadia, Nina, Noah, Olga, Omar, Otto, Paula, Priya, Rosa, Ruth, "
    "Sam, Sara, Sofia, Tariq, Tom, Uma, Vera, Yara, Yusuf, Zoe"
)
LAST = _listed(
    "Abbott, Ahmed, Baker, Berg, Blake, Brown, Castro, Chen, Cole, Costa, Diaz, Dunn, Evans, "
    "Fischer, Flores, Ford, Garcia, Gomez, Grant, Hall, Hansen, Hughes, Ito, Jansen, Jones, "
    "Kaur, Keller, Khan, Kim, King, Klein, Lang, Lee, Lopez, Marsh, Meyer, Moore, Mori, Nash, "
    "Novak, Okoye, Olsen, Patel, Perez, Petrov, Quinn, Reed, Rossi, Sato, Shah, Silva, Singh, "
    "Smith, Stone, Tanaka, Turner, Vogel, Wagner, Walsh, Weber, Wong, Wood, Young, Zhang"
)
CITIES = _listed(
    "Accra, Athens, Austin, Bergen, Berlin, Boston, Cairo, Cork, Dakar, Delhi, Dublin, Essen, "
    "Geneva, Ghent, Graz, Hanoi, Houston, Jena, Kyoto, Lagos, Leeds, Lima, Lisbon, London, "
    "Lyon, Madrid, Malmo, Milan, Nairobi, Oslo, Paris, Porto, Prague, Quito, Riga, Rome, "
    "Seoul, Split, Sydney, Tampa, Tokyo, Toronto, Turin, Utrecht, Vienna"
)
THINGS = _listed(
    "backpack, bench, blanket, blender, book shelf, camera, candle, carpet, chair, clock, "
    "coat, coffee maker, curtain, desk, door handle, drill, fan, frame, garden hose, hammer, "
    "headphones, heater, jacket, kettle, keyboard, ladder, lamp, laptop stand, mattress, "
    "microphone, mirror, monitor, mug, notebook, oven, pan, phone case, pillow, printer, "
    "radio, rug, sofa, speaker, suitcase, table, tent, toaster, umbrella, vase, watch"
)
COLOURS = _listed(
    "black, blue, brown, green, grey, orange, pink, purple, red, silver, white, yellow"
)
MONTHS = _listed(
    "January, February, March, April, May, June, July, August, September, October, November, "
    "December"
)
DAYS = _listed("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
TEAMS = _listed(
    "billing, delivery, finance, legal, personnel, press, purchasing, sales, security, support"
)
COMPANIES = _listed(
    "Acorn, Alder & Sons, Bluebird, Brightside, Cedar Works, Copper Lane, Eastgate, Fernhill, "
    "Foxglove, Granite, Harbour Light, Juniper, Lantern, Maple Street, Meadow, Northwind, "
    "Oakfield, Pebble, Quarry, Redwood, Riverbank, Saffron, Silverline, Stonebridge, Sunrise, "
    "Thistle, Westport, Willow"
)
PURPOSES = _listed(
    "help people who are new here, keep every promise we make, answer within a day, waste "
    "nothing, be honest about what we do not know, make good tools last longer, treat every "
    "customer as a guest, teach what we have learned, keep private things private, say no "
    "kindly when we must, put safety before speed, serve the whole town"
)


def person(rng: random.Random) -> str:
    """A first and a last name."""
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def number(rng: random.Random) -> str:
    """An order number of one of several shapes."""
    digits = "".join(rng.choices(string.digits, k=rng.randint(3, 7)))
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return rng.choice((digits, f"{letters}-{digits}", f"{letters}{digits}", f"#{digits}"))


def date(rng: random.Random) -> str:
    """A day of the year, written in one of several ways."""
    day, month = rng.randint(1, 28), rng.randrange(12)
    return rng.choice((
        f"{day} {MONTHS[month]}",
        f"{MONTHS[month]} {day}",
        f"{rng.randint(2015, 2030)}-{month + 1:02}-{day:02}",
        f"{rng.choice(DAYS)}, {day} {MONTHS[month]}",
    ))


def address(rng: random.Random, name: str) -> str:
    """A mail address that fits a name."""
    first, last = name.casefold().split()
    user = rng.choice((first, last, f"{first}.{last}", f"{first[0]}{last}"))
    return f"{user}{rng.choice(('', str(rng.randint(1, 99))))}@{rng.choice(COMPANIES)[:4].casefold()}.example"


def amount(rng: random.Random) -> str:
    """A sum of money."""
    return rng.choice((f"{rng.randint(1, 900)}", f"{rng.randint(1, 99)}.{rng.randint(10, 99)}"))


def mission(rng: random.Random) -> str:
    """A mission statement."""
    one, two = rng.sample(PURPOSES, 2)
    return rng.choice((
        f"We {one}.",
        f"We {one} and {two}.",
        f"At {rng.choice(COMPANIES)} we {one}.",
    ))
