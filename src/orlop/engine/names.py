"""Names of containers: what may be one, and one to give when the user gave none (adjective_surname)."""

import random
import re
from collections.abc import Container

from orlop.spec.errors import InvalidArgument

ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(f"{ALLOWED}+")

_ADJECTIVES = """
able agile alert amber ample ardent balmy blithe bold brave breezy bright brisk buoyant calm candid clever cosy crisp daring
dapper deft eager earnest elated exact fabled fair festive fleet fluent fond frank fresh gallant gentle giddy glad golden
graceful hardy hearty honest humble jaunty jolly jovial keen kind lively loyal lucid lucky mellow merry mild modest neat
nimble noble patient placid plucky polite proud quaint quick quiet rapid ready robust rosy serene sharp silent sincere smart
snug sober spry stable steady stoic sturdy subtle sunny supple swift tender tidy tireless trusty upbeat valiant vivid warm
wise witty zealous
"""
_SURNAMES = """
abel agnesi amundsen ampere arago archimedes babbage banneker bardeen barents bell bering bernoulli bohr boole bose boyle
brahe cabot cantor carver cauchy cavendish celsius chandra cook copernicus coulomb curie dalton darwin davis descartes dias
dijkstra dirac drake edison einstein elcano ericson euclid euler faraday fermat fermi feynman fibonacci flinders fourier
franklin frobisher galileo galois gama gauss germain gilbert godel goodall hamilton heaviside henry herschel hertz heyerdahl
hilbert hodgkin hooke hopper hubble hudson huygens hypatia johnson joule kelvin kepler khwarizmi knuth kovalevskaya lagrange
lamarr laplace leavitt leibniz linnaeus lovelace magellan marconi maury maxwell meitner mendel mercator merian mitchell
nansen napier newton nightingale noether ohm pascal pasteur pauling payne perelman planck poincare polo ptolemy pytheas
raman ramanujan ritchie rontgen ross rutherford shackleton shannon slocum somerville tasman tereshkova tesla torricelli
turing vancouver vespucci volta wallace watt wegener wiles wright wu yonath zheng
"""
ADJECTIVES, SURNAMES = _ADJECTIVES.split(), _SURNAMES.split()


def check_name(name: str) -> str:
    """The name without a leading slash. Raises InvalidArgument with Docker's wording."""
    bare = name.removeprefix("/")
    if not _NAME.fullmatch(bare):
        raise InvalidArgument(f"Invalid container name ({name}), only {ALLOWED} are allowed")
    return bare


def random_name(taken: Container[str]) -> str:
    """A name that is not taken yet; after some clashes one with a digit."""
    for attempt in range(100):
        name = f"{random.choice(ADJECTIVES)}_{random.choice(SURNAMES)}" + (str(random.randrange(10)) if attempt > 5 else "")
        if name not in taken:
            return name
    return f"container_{random.randrange(1 << 48):012x}"
