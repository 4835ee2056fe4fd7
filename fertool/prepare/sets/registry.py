"""The named data sets, and which of them a source is."""

from fertool.errors import UserError
from fertool.prepare.sets import affectnet, ck, fer2013, ferplus, laboratory, rafdb, wild
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.listing import Listing

SETS: tuple[DataSet, ...] = (
    fer2013.FER2013_CSV,
    fer2013.FER2013_FOLDERS,
    fer2013.FER2013_PARQUET,
    ferplus.FER_PLUS,
    rafdb.RAF_DB_BASIC,
    rafdb.RAF_DB_FOLDERS,
    affectnet.AFFECTNET_FOLDERS,
    affectnet.AFFECTNET_LISTS,
    ck.CK_SEQUENCES,
    ck.CK_FOLDERS,
    ck.CK_EXTENDED,
    laboratory.JAFFE,
    laboratory.KDEF,
    wild.EXPW_SET,
    wild.SFEW,
    wild.CAER_S,
)


def recognise(candidate: Candidate) -> Listing | None:
    """The listing of a source that is one of the named sets; None where it is none.

    Raises UserError where it has the forms of two sets, and for what is wrong in the one that it is.
    """
    found = [(each, listing) for each in SETS if (listing := each.find(candidate)) is not None]
    if len(found) > 1:
        names = " and ".join(each.name for each, _ in found)
        raise UserError(f"{candidate.files.path}: has the forms of {names}; give the folder of one of them")
    return found[0][1] if found else None


def revised(candidate: Candidate) -> dict[str, int]:
    """The named sets that a source is and that were read otherwise before, with the revisions of their reading."""
    return {
        each.name: each.revision for each in SETS if each.revision > 1 and each.find(candidate) is not None
    }
