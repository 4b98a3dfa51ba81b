"""Enrolment as a device and its federation speak it; the desk that answers is in the server's room."""

from skerry.security.enrolment.answers import Challenge, Outcome, SignedOutcome, Status
from skerry.security.enrolment.applicant import Applicant, Application, Membership, apply, ask, leave, renew
from skerry.security.enrolment.invitation import Invitation, invite_id
from skerry.security.enrolment.refusal import EnrolmentRefusal, EnrolmentRefusedError
from skerry.security.enrolment.requests import ChallengeRequest, EnrolmentRequest, LeaveRequest, RenewalRequest
from skerry.security.enrolment.transport import EnrolmentTransport, LeavingTransport

__all__ = [
    "Applicant",
    "Application",
    "Challenge",
    "ChallengeRequest",
    "EnrolmentRefusal",
    "EnrolmentRefusedError",
    "EnrolmentRequest",
    "EnrolmentTransport",
    "Invitation",
    "LeaveRequest",
    "LeavingTransport",
    "Membership",
    "Outcome",
    "RenewalRequest",
    "SignedOutcome",
    "Status",
    "apply",
    "ask",
    "invite_id",
    "leave",
    "renew",
]
