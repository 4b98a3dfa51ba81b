"""Enrolment on the server: the desk that answers devices, and what operators decide."""

from skerry.server.enrolment.current_authority import CurrentAuthority
from skerry.server.enrolment.desk import Desk
from skerry.server.enrolment.local import authority_folder, local_desk
from skerry.server.enrolment.log_keeper import LogKeeper
from skerry.server.enrolment.office import Office
from skerry.server.enrolment.rules import Rules

__all__ = ["CurrentAuthority", "Desk", "LogKeeper", "Office", "Rules", "authority_folder", "local_desk"]
