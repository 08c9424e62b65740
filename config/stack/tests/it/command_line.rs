//! The command line as a developer meets it. Nothing here starts a stack: that needs the real binaries, the real ports and minutes.

use std::process::{Command, Output};

fn stack(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
    command.env_remove("DATABASE_URL").env_remove("REDIS_URL").args(args).envs(env.iter().copied());
    command.output().expect("the stack's program runs")
}

fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = stack(args, env);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn the_commands_are_told() {
    let help = String::from_utf8(stack(&["--help"], &[]).stdout).unwrap();
    for word in ["cargo stack", "up", "down", "test", "Ctrl-C"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn a_wrong_url_is_refused_by_name_and_never_repeated() {
    let said = refused(&["up"], &[("DATABASE_URL", "mysql://u:hidden@localhost/d")]);
    assert!(said.contains("DATABASE_URL") && said.contains("postgres://"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    let said = refused(&["up"], &[("REDIS_URL", "localhost:6379")]);
    assert!(said.contains("REDIS_URL"), "{said}");
}

#[test]
fn the_number_of_edges_and_workers_is_bounded() {
    assert!(refused(&["up", "--edges", "0"], &[]).contains("--edges"));
    assert!(refused(&["up", "--workers", "9"], &[]).contains("--workers"));
}

/// In place of cargo a program that says what it was given and has a status of its own.
#[test]
fn tests_are_handed_every_argument_and_hand_back_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\necho \"$*\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for given in [&["test"][..], &["test", "-p", "edge", "--", "--ignored"], &["test", "--", "--ignored"]] {
        let output = stack(given, &[("CARGO", cargo.to_str().unwrap())]);
        let expected = ["test", "--locked", "--no-fail-fast"].iter().chain(&given[1..]).copied().collect::<Vec<_>>().join(" ");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
        assert_eq!(output.status.code(), Some(7));
    }
}
