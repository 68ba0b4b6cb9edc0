//! Resources of policies written as YAML.
