"""`carboy.config`: every loader, and attributes that are views of config keys."""

import errno
import json
import os
import tomllib

import pytest

from carboy.config import Config, ConfigAttribute


@pytest.fixture
def config(tmp_path):
    return Config(tmp_path, {"DEBUG": False})


def test_defaults_and_repr(tmp_path):
    assert Config(tmp_path) == {}
    assert repr(Config(tmp_path, {"A": 1})) == "<Config {'A': 1}>"


def test_from_pyfile_takes_upper_case_names(config, tmp_path):
    (tmp_path / "shop.cfg").write_text("base = 20\nLIMIT = base * 2\nNAME = __file__\n")
    assert config.from_pyfile("shop.cfg")
    assert config == {"DEBUG": False, "LIMIT": 40, "NAME": str(tmp_path / "shop.cfg")}


def test_from_pyfile_follows_the_declared_encoding(config, tmp_path):
    (tmp_path / "shop.cfg").write_bytes('# -*- coding: latin-1 -*-\nCITY = "Zürich"\n'.encode("latin-1"))
    config.from_pyfile("shop.cfg")
    assert config["CITY"] == "Zürich"


@pytest.mark.parametrize(
    "load", [lambda config, **kw: config.from_pyfile("no", **kw), lambda c, **kw: c.from_file("no", json.load, **kw)]
)
def test_missing_file(config, load):
    with pytest.raises(FileNotFoundError, match="Unable to load configuration file"):
        load(config)
    assert load(config, silent=True) is False


def test_silent_hides_only_a_missing_file(config, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match=r"Unable to load configuration file \(Permission denied\)"):
        config.from_pyfile("shop.cfg", silent=True)


def test_from_envvar(config, tmp_path, monkeypatch):
    (tmp_path / "shop.py").write_text("LIMIT = 3")
    monkeypatch.setenv("SHOP_SETTINGS", "shop.py")
    assert config.from_envvar("SHOP_SETTINGS")
    assert config["LIMIT"] == 3


def test_from_envvar_unset(config, monkeypatch):
    monkeypatch.delenv("SHOP_SETTINGS", raising=False)
    with pytest.raises(RuntimeError, match="'SHOP_SETTINGS' is not set"):
        config.from_envvar("SHOP_SETTINGS")
    assert config.from_envvar("SHOP_SETTINGS", silent=True) is False


class Defaults:
    LIMIT = 1
    secret = "not a setting"

    @property
    def DOUBLE(self):
        return self.LIMIT * 2


def test_from_object(config):
    config.from_object(Defaults())
    assert config == {"DEBUG": False, "LIMIT": 1, "DOUBLE": 2}


def test_from_object_by_import_name(config):
    config.from_object("errno")
    assert config["ENOENT"] == errno.ENOENT
    with pytest.raises(ImportError):
        config.from_object("no.such.module")


def test_from_file_json_and_toml(config, tmp_path):
    (tmp_path / "a.json").write_text('{"A": [1, 2], "lower": 1}')
    (tmp_path / "b.toml").write_text("B = true\n[TABLE]\nkey = 1\n")
    assert config.from_file("a.json", load=json.load)
    assert config.from_file("b.toml", load=tomllib.load, text=False)
    assert config == {"DEBUG": False, "A": [1, 2], "B": True, "TABLE": {"key": 1}}


def test_from_mapping(config):
    assert config.from_mapping({"A": 1, "lower": 2}, B=3, also_lower=4)
    config.from_mapping([("C", 5)])
    assert config == {"DEBUG": False, "A": 1, "B": 3, "C": 5}
    with pytest.raises(TypeError):
        config.from_mapping({}, {})


def test_from_prefixed_env(config, monkeypatch):
    environ = {"SHOP_NAME": "Fritz", "SHOP_LIMIT": "3", "SHOP_HOSTS": '["a"]', "SHOPPING_LIST": "1", "FLASK_A": "true"}
    monkeypatch.setattr(os, "environ", environ)
    assert config.from_prefixed_env("SHOP")
    assert config == {"DEBUG": False, "NAME": "Fritz", "LIMIT": 3, "HOSTS": ["a"]}
    config.from_prefixed_env(loads=str.upper)
    assert config["A"] == "TRUE"


def test_from_prefixed_env_nested(config, monkeypatch):
    config["DB"] = {"host": "here", "port": 1}
    environ = {"FLASK_DB__port": "2", "FLASK_NEW__A__b": "x", "FLASK_DB__NEW__c": "null"}
    monkeypatch.setattr(os, "environ", environ)
    config.from_prefixed_env()
    assert config["DB"] == {"host": "here", "port": 2, "NEW": {"c": None}}
    assert config["NEW"] == {"A": {"b": "x"}}


def test_get_namespace(config):
    config.update(MAIL_HOST="mx", MAIL_PORT=25, MAILBOX=1)
    assert config.get_namespace("MAIL_") == {"host": "mx", "port": 25}
    assert config.get_namespace("MAIL_", lowercase=False) == {"HOST": "mx", "PORT": 25}
    assert config.get_namespace("MAIL_", trim_namespace=False) == {"mail_host": "mx", "mail_port": 25}
    assert config.get_namespace("MAIL_", lowercase=False, trim_namespace=False) == {"MAIL_HOST": "mx", "MAIL_PORT": 25}


def test_config_attribute(config):
    class Shop:
        debug = ConfigAttribute[bool]("DEBUG")
        limit = ConfigAttribute("LIMIT", get_converter=int)

    shop = Shop()
    shop.config = config
    shop.debug, shop.limit = True, "12"
    assert config == {"DEBUG": True, "LIMIT": "12"}
    assert (shop.debug, shop.limit) == (True, 12)
    assert isinstance(Shop.debug, ConfigAttribute)


def test_an_application_uses_its_own_config_class(app):
    class ShopConfig(Config):
        pass

    class Shop(type(app)):
        config_class = ShopConfig

    shop = Shop(__name__)
    assert type(shop.config) is ShopConfig
    assert shop.config.root_path == shop.root_path
