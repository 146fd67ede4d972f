"""Print the JSON schema of the configuration."""

import json

from ptpp.config.sections import Config

print(json.dumps(Config.model_json_schema(), indent=2))
