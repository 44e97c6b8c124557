"""The type checker that tests put on every function (see conftest.py): beartype, where an int is a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
