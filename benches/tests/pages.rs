//! The manual pages and completions of both programs, for packages: written into the folder that
//! PAGES names, and whole. Owns their names and folders. Must not say anything of its own: all of
//! it is in the command lines. A test and no program, so that no build of a program has it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

#[test]
fn every_command_has_a_page_and_every_shell_its_completions() {
    let default = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let directory = std::env::var_os("PAGES").map_or(default, PathBuf::from);
    let gridcast = gridcast_tools::augment(gridcast::cli::Cli::command());
    for command in [gridcast, gridload::cli::command::Cli::command()] {
        let name = command.get_name().to_owned();
        let directory = directory.join(&name);
        write(command.clone(), &directory);
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            let page = directory.join(format!("man1/{name}-{}.1", inner.get_name()));
            let text = fs::read_to_string(&page).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{text}");
        }
        for file in [format!("bash/{name}.bash"), format!("fish/{name}.fish")] {
            assert!(fs::metadata(directory.join(file)).unwrap().len() > 0);
        }
    }
}

fn write(mut command: Command, directory: &Path) {
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let directory = directory.join(shell.to_string());
        fs::create_dir_all(&directory).unwrap();
        generate_to(shell, &mut command.clone(), &name, &directory).unwrap();
    }
    let manual = directory.join("man1");
    fs::create_dir_all(&manual).unwrap();
    command = command.disable_help_subcommand(true);
    clap_mangen::generate_to(command, manual).unwrap();
}
