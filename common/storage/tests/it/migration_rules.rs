//! Migrations only expand: programs of the version before run while they are applied and after. README's ARCHITECTURE says what that
//! means; here every file is held to it.

use std::collections::BTreeSet;
use std::path::Path;

/// What these made was empty everywhere: indexes did not keep anybody waiting.
const BEFORE_THE_FIRST_RELEASE: [&str; 3] = ["V1__", "V2__", "V3__"];
/// A file that says so may take things away: no program that runs any more needs them.
const CONTRACTS: &str = "-- contracts: ";

/// What a program of the version before would trip over, in SQL in lower case with single spaces: what is said, what must not be said with
/// it, and why it is refused.
const REFUSED: [(&str, &[&str], &str); 12] = [
    ("drop table", &[], "the version before reads it"),
    ("drop column", &[], "the version before reads it"),
    ("drop view", &[], "the version before reads it"),
    ("drop function", &[], "the version before calls it"),
    ("drop type", &[], "the version before uses it"),
    ("truncate", &[], "the version before reads it"),
    ("rename", &[], "the version before knows the old name"),
    ("set not null", &[], "the version before may write null"),
    (" type ", &["create type", "drop type"], "the version before writes the old type, and the table is rewritten while all wait"),
    ("add column", &["default", "nullable"], "the version before does not fill it"),
    ("add constraint", &["not valid"], "checking what is there keeps all waiting; add it `not valid`, and validate it in a later file"),
    ("create unique index", &["if not exists"], "the version before may write what it refuses"),
];

/// Everything in a migration that a running system would notice.
fn refusals(sql: &str) -> Vec<String> {
    if sql.lines().any(|line| line.strip_prefix(CONTRACTS).is_some_and(|reason| reason.trim().len() > 10)) {
        return Vec::new();
    }
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ").to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut made, mut altered) = (BTreeSet::new(), BTreeSet::new());
    let mut refused = Vec::new();
    for statement in code.split(';').map(str::trim) {
        if let Some(rest) = statement.strip_prefix("create table ") {
            made.extend(rest.trim_start_matches("if not exists ").split([' ', '(']).next());
            continue;
        }
        // Nobody knows yet what this file has made itself.
        let alters = statement.strip_prefix("alter table ").and_then(|rest| rest.split(' ').next());
        let indexes = statement.contains(" index ").then(|| statement.split(" on ").nth(1)?.split([' ', '(']).next()).flatten();
        if alters.or(indexes).is_some_and(|table| made.contains(table)) {
            continue;
        }
        altered.extend(alters);
        for (said, unless, why) in REFUSED {
            let nullable = said == "add column" && !statement.contains("not null");
            if statement.contains(said) && !unless.iter().any(|unless| statement.contains(unless)) && !nullable {
                refused.push(format!("{why}: {statement}"));
            }
        }
        if statement.starts_with("create index") && !statement.contains("if not exists") {
            let how = "make it `concurrently` by hand before, and say `if not exists` here";
            refused.push(format!("it keeps all who write waiting; {how}: {statement}"));
        }
    }
    if altered.len() > 1 {
        refused.push(format!(
            "locking one table after another, it and a transaction that writes to both may wait for each other: {altered:?}"
        ));
    }
    refused
}

#[test]
fn every_migration_only_expands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let refused = refusals(&std::fs::read_to_string(&path).unwrap());
        let excused = BEFORE_THE_FIRST_RELEASE.iter().any(|version| name.starts_with(version));
        assert!(refused.is_empty() || excused, "{name}: {refused:#?}\n(or say `{CONTRACTS}<why nobody needs it any more>`)");
        seen += 1;
    }
    assert!(seen >= BEFORE_THE_FIRST_RELEASE.len());
}

#[test]
fn what_expands_is_told_from_what_does_not() {
    let good = [
        "create table t (id bigint primary key, kind text not null); create index on t (kind); alter table t rename to u",
        "alter table orders add column note text",
        "-- why\nalter table orders add column n bigint not null default 0; -- drop table orders",
        "create index if not exists orders_note on orders (note)",
        "alter table orders add constraint c check (n >= 0) not valid",
        "-- contracts: nothing has read it since 1.4\nalter table orders drop column note",
        "insert into kinds values ('a')",
    ];
    for sql in good {
        assert_eq!(refusals(sql), Vec::<String>::new(), "{sql}");
    }
    let bad = [
        "drop table orders",
        "alter table orders\n  drop column note",
        "alter table orders RENAME column a to b",
        "alter table orders alter column a set not null",
        "alter table orders alter column a type bigint",
        "alter table orders alter column a set data type bigint",
        "alter table orders add column a text not null",
        "alter table orders add constraint c check (a > 0)",
        "create index orders_note on orders (note)",
        "create table t (id bigint); create unique index u on orders (note)",
        "-- contracts: \ntruncate orders",
        "drop type kind",
        "alter table orders add column a text; alter table events add column a text",
    ];
    for sql in bad {
        assert_eq!(refusals(sql).len(), 1, "{sql}: {:?}", refusals(sql));
    }
}
