//! What the README tells people to write and to run works.

use std::path::{Path, PathBuf};

use entrepot::config::{Configuration, Surroundings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let opening = format!("```{language}\n");
    readme.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("registry.corp.password"), "secret\n").unwrap();
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    let blocks = blocks("toml");
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let file = folder.path().join("configuration.toml");
        std::fs::write(&file, &block).unwrap();
        let configuration = Configuration::load(None, &surroundings);
        assert!(configuration.is_ok(), "{block}\n{}", configuration.unwrap_err());
    }
}

#[test]
fn the_three_keys_of_the_readme_are_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    let folders = |configuration: Configuration| {
        (configuration.registry_storage, configuration.temporary_registry_storage, configuration.proxy_storage)
    };
    let defaults = folders(Configuration::load(None, &surroundings).unwrap());
    std::fs::write(folder.path().join("configuration.toml"), &blocks("toml")[0]).unwrap();
    assert_eq!(folders(Configuration::load(None, &surroundings).unwrap()), defaults);
}

#[test]
fn the_test_command_of_the_readme_is_what_the_judge_calls() {
    let command = "tests/run";
    assert!(blocks("sh").iter().any(|block| block.trim() == command));
    assert!(std::fs::read_to_string(root().join(".ci/run")).unwrap().contains(command));
}
