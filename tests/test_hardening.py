"""What containers may do, and what stands in their description; `test_deploy` runs them."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_no_service_gains_rights_and_ours_have_none() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service
        assert re.search(r":\d", service["image"]), name  # a version, not what is newest
    for name in ("archive", "worker", "migrate", "bridge"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
        assert "cap_add" not in services[name]
    assert services["proxy"]["read_only"]
    assert [name for name in services if "ports" in services[name]] == ["bridge", "proxy"]
    assert services["bridge"]["profiles"] == ["dimse"]  # who has no modality opens no port


def test_no_secret_stands_in_a_variable_or_a_command() -> None:
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"SECRET|PASSWORD|TOKEN|DATABASE__URL|AUTH__KEY(_|$)", variable):
                assert variable.endswith("_FILE"), (name, variable)
                assert value.startswith("/run/secrets/"), (name, variable)
        assert not re.search(r"password|secret=", str(service.get("command", "")), re.IGNORECASE)


def test_the_image_is_of_nobody_special_and_holds_no_secret() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last = lines[[at for at, line in enumerate(lines) if line.startswith("FROM ")][-1] :]
    assert "USER fileroom" in last
    assert any("--uid 10001" in line and "useradd" in line for line in last)
    user, entry = last.index("USER fileroom"), last.index('ENTRYPOINT ["fileroom"]')
    assert user < entry
    assert not any(re.match(r"USER (?!fileroom)", line) for line in last)
    text = "\n".join(lines)
    assert "ADD " not in text
    assert text.count("--require-hashes") == 2
    assert not re.search(r"(ENV|ARG).*(SECRET|PASSWORD|TOKEN)", text)
