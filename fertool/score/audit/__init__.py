"""Claims about FER2013, checked: from a csv of predictions or a confusion matrix."""

from fertool.score.audit.command import AuditSettings, audit_claims, settings_of_audit

__all__ = ["AuditSettings", "audit_claims", "settings_of_audit"]
