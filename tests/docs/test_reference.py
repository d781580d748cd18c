"""The generated pages of docs/reference are those that the code makes now."""

import pytest
from docs.generate import PAGES, REFERENCE

from videogpa.config.description import settings


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs-reference`"


def test_every_setting_has_a_sentence() -> None:
    assert [setting.name for setting in settings() if not setting.meaning.endswith(".")] == []
