//! Plans of policies written as YAML.
