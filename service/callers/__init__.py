"""Callers: who they are, what each may do on which hub, and where their keys are kept."""
