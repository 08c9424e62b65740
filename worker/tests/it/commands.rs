//! The operator's commands, each run as the binary it is. What a command says, what it stores, and how it ends.

mod audit;
mod catalogue;
mod held_stock;
mod import;
mod installation;
mod keys;
mod partners;
mod restore;
mod rewrap;
mod tax;
mod webhooks;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use storage::Pg;
use testkit::database::Database;
use testkit::settings::Settings;

/// What a command ended with.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code().expect("an exit code"), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// The one JSON value of a command that did what it should.
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        self.value()
    }

    fn value(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).expect("one JSON value")
    }

    /// Ends with `code` and says all of `words` on standard error.
    #[track_caller]
    fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(words.iter().all(|word| self.stderr.contains(word)), "{words:?} in {self:?}");
    }
}

/// One installation: a database of its own, and settings that lead to it.
struct Installation {
    settings: Settings,
    pg: Pg,
}

impl Installation {
    async fn new() -> Self {
        let database = Database::new().await.expect("a database");
        // Redis is where nobody listens, which most commands need not know.
        let settings =
            Settings::new().postgres(database.url()).set("REDIS__CONNECT_TIMEOUT_MS", "200").set("REDIS__COMMAND_TIMEOUT_MS", "200");
        Self { settings, pg: database.pg().expect("a pool") }
    }

    /// With store `demo` and products `POOL` and `MADE` in it.
    async fn with_products() -> Self {
        let this = Self::new().await;
        this.json(&["store", "create", "--slug", "demo", "--name", "Demo"]);
        this.json(&["product", "create", "--store", "demo", "--sku", "POOL", "--name", "P", "--source", "pool", "--price", "GBP=2999"]);
        this.json(&["product", "create", "--store", "demo", "--sku", "MADE", "--name", "M", "--source", "generator", "--price", "GBP=1"]);
        this
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.env_clear().envs(self.settings.environment()).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("the worker").into()
    }

    /// With standard input.
    fn run_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the worker");
        child.stdin.take().expect("its input").write_all(input.as_ref()).expect("that it reads");
        child.wait_with_output().expect("that it ends").into()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    /// Every value of every table as text; bytes in hexadecimal.
    async fn everything_stored(&self) -> String {
        let client = self.pg.client().await.expect("a connection");
        let tables = client.query("select tablename::text from pg_tables where schemaname = 'public'", &[]).await.expect("tables");
        let mut text = String::new();
        for table in tables {
            let table: String = table.get(0);
            for row in client.query(&format!("select t::text from {table} t"), &[]).await.expect("rows") {
                text += row.get::<_, &str>(0);
                text.push('\n');
            }
        }
        text
    }

    /// Whether this text stands anywhere in the database, as text or as bytes.
    async fn stores(&self, text: &str) -> bool {
        let stored = self.everything_stored().await;
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        stored.contains(text) || stored.contains(&hex)
    }

    async fn count(&self, sql: &str) -> i64 {
        self.pg.client().await.expect("a connection").query_one(sql, &[]).await.expect("a count").get(0)
    }

    async fn execute(&self, sql: &str) {
        self.pg.client().await.expect("a connection").batch_execute(sql).await.expect("that it is done");
    }
}
