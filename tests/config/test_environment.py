"""Versions are pinned once."""

import yaml


def test_the_conda_environment_repeats_the_pins_of_requirements(root):
    pins = {
        line.strip()
        for line in (root / "requirements.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    assert all("==" in pin for pin in pins)
    environments = sorted((root / "envs").glob("*.yaml"))
    assert environments
    for path in environments:
        dependencies = yaml.safe_load(path.read_text())["dependencies"]
        assert set(dependencies[-1]["pip"]) == pins


def test_torch_stands_at_the_pin_the_project_is_tested_with(root):
    assert "torch==2.13.0" in (root / "requirements.txt").read_text().splitlines()
