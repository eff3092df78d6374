"""Images of a run that can be searched, and classes that grow from them."""

from .filters import Condition as Condition
from .filters import InvalidFilterError as InvalidFilterError
from .filters import conditions as conditions
from .gallery import Gallery as Gallery
from .identities import Identities as Identities
from .identity import Enrolled as Enrolled
from .identity import Explanation as Explanation
from .identity import Group as Group
from .identity import Identity as Identity
from .identity import Match as Match
from .indexing import ImageFile as ImageFile
from .indexing import Indexed as Indexed
from .indexing import index_files as index_files
from .indexing import index_inputs as index_inputs
from .indexing import missing_files as missing_files
from .items import AddReport as AddReport
from .items import ConflictError as ConflictError
from .items import Hit as Hit
from .items import Item as Item
from .items import Payload as Payload
from .items import Rejected as Rejected
from .items import ReviewError as ReviewError
from .items import UnknownItemError as UnknownItemError
from .journal import Change as Change
from .lance import is_gallery as is_gallery
from .pin import Pin as Pin
