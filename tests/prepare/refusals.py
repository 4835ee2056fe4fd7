from pathlib import Path

import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.workspace import Workspace


def assert_refused(workspace: Workspace, source: Path, *words: str, **settings: object) -> None:
    """Check that `source` is refused in one short line with all of `words`, and that no workspace is made."""
    with pytest.raises(UserError) as caught:
        prepare(workspace, source, PrepareSettings(**settings))
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 1000
    assert not workspace.root.exists()
    for word in words:
        assert word in message, message
