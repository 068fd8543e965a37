"""The groups of work, in the order of the table. A group prepares once, measures each kind of server in each round, and
cleans up."""

from groups.binary import Binary
from groups.connections import Connections
from groups.crowd import Crowd
from groups.footprint import Footprint
from groups.growth import Growth
from groups.images import Images
from groups.instructions import Instructions
from groups.profile import Profile
from groups.pull import Pull
from groups.push import Push
from groups.shared import Scale
from groups.slow import Slow
from groups.small import Small
from groups.tags import Tags
from groups.through import Through
from groups.tls import Tls

# What a run does by itself.
USUAL = {
    "pull": Pull,
    "small": Small,
    "push": Push,
    "images": Images,
    "tags": Tags,
    "through": Through,
    "slow": Slow,
    "crowd": Crowd,
    "tls": Tls,
    "footprint": Footprint,
    "connections": Connections,
    "scale": Scale,
}

# What takes longer, or needs more: only by name, or with --all.
LONG = {"binary": Binary, "instructions": Instructions, "growth": Growth, "profile": Profile}

ALL = USUAL | LONG
