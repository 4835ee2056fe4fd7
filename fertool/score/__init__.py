"""Scores: what runs classify, where they look, and how far either holds up; a family of figures a suite."""

from fertool.score.audit import AuditSettings, audit_claims
from fertool.score.command import score
from fertool.score.settings import ScoreSettings

__all__ = ["AuditSettings", "ScoreSettings", "audit_claims", "score"]
