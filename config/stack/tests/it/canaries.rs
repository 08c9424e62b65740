//! Canaries: a word of its own in every input there is, through success and every failure, with the programs as they are shipped and their
//! logs at the finest level. Afterwards every place where somebody else might look is searched for each of them. Every word is planted
//! together with the places where it may be ([`Canaries::word`]); everything else is a leak.

mod planted;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::api_key::ApiKey;
use common::mode::Mode;
use http::Method;
use serde_json::{Value, json};
use storage::Pg;
use testkit::http::{Client, Response};
use testkit::process::{Launch, Process, Signal};
use testkit::receiver::{Behavior, Receiver};
use testkit::servers::{Host, Kind, Login, Postgres, PostgresOptions, Redis, RedisOptions};
use testkit::settings::Settings;
use testkit::shop::Shop;
use tokio::task::block_in_place;

use self::planted::{Canaries, Place, find};
use crate::redis_commands::{Commands, Monitor};
use crate::system::{SOON, eventually, fulfill_path, license_keys_of, order_id_of};

/// The programs as they are shipped, but for their profile.
pub fn programs() -> [PathBuf; 2] {
    let cargo = Launch::new("cargo build", env!("CARGO")).folder(Path::new(env!("CARGO_MANIFEST_DIR")));
    // Build scripts that watch what cargo tells us about our own package would run again, and everything above them be built again.
    let own_package =
        |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
    let of_this_package: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(own_package).collect();
    cargo
        .without_env(&of_this_package)
        .args(["build", "--locked", "--quiet", "-p", "edge", "-p", "worker"])
        .must_succeed()
        .expect("a build");
    // This very program lies in `<target>/<profile>/deps`.
    let own = std::env::current_exe().expect("our own program");
    let debug = own.ancestors().nth(3).expect("a target folder").join("debug");
    ["edge", "worker"].map(|name| debug.join(name))
}

/// What is running, and what was said by it.
struct Bench {
    canaries: Canaries,
    places: BTreeMap<Place, Vec<u8>>,
    programs: [PathBuf; 2],
    logs: tempfile::TempDir,
    postgres: Postgres,
    redis: Redis,
    owner: Settings,
    edge: Settings,
    worker: Settings,
}

impl Bench {
    fn heard(&mut self, place: Place, bytes: impl AsRef<[u8]>) {
        let heard = self.places.entry(place).or_default();
        heard.extend(bytes.as_ref());
        heard.push(b'\n');
    }

    fn launch(&self, which: usize, settings: &Settings, arguments: &[&str]) -> Launch {
        let launch = Launch::new(["edge", "worker"][which], &self.programs[which]).args(arguments);
        settings.environment().fold(launch, |launch, (name, value)| launch.env(name, value))
    }

    /// Starts an edge or a worker; where it listens and where its admin pages are.
    async fn start(&self, which: usize) -> (Process, BTreeMap<&'static str, SocketAddr>) {
        let settings = [&self.edge, &self.worker][which].clone();
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let log = self.logs.path().join(format!("{}-{}.log", ["edge", "worker"][which], STARTS.fetch_add(1, Ordering::Relaxed)));
        let process = self.launch(which, &settings, &["run"]).start(&log).expect("a process");
        let addresses = eventually("it to say where it is", SOON, async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let started =
                text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["admin"].is_string())?;
            let address = |name: &'static str| Some((name, started[name].as_str()?.parse().ok()?));
            Some(["listen", "admin"].into_iter().filter_map(address).collect::<BTreeMap<_, _>>())
        })
        .await;
        (process, addresses)
    }

    /// Runs a command to its end, and keeps what it said.
    fn command(&mut self, which: usize, settings: &Settings, arguments: &[&str]) -> i32 {
        let output = block_in_place(|| self.launch(which, settings, arguments).output()).expect("a command");
        self.heard(Place::Commands, output.stdout);
        self.heard(Place::Commands, output.stderr);
        output.status.code().expect("an exit code")
    }

    async fn look_at_admin_pages(&mut self, admins: &[SocketAddr]) {
        for admin in admins {
            for page in ["/metrics", "/readyz", "/healthz", "/none"] {
                let answer = Client::new(*admin, false).get(page).await.expect("a page");
                self.heard(Place::AdminPages, &answer.body);
            }
        }
    }

    /// Keeps an answer that is none of success; those of success belong to whoever asked.
    fn keep(&mut self, answer: &Response) {
        if !answer.status.is_success() {
            let head: String =
                answer.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))).collect();
            self.heard(Place::Errors, head);
            self.heard(Place::Errors, &answer.body);
        }
    }

    fn dump(&self) -> Vec<u8> {
        let dump = self.postgres.tool("pg_dump").expect("pg_dump").args(["--inserts", "--no-owner"]).output().expect("a dump");
        assert!(dump.status.success(), "{dump:?}");
        dump.stdout
    }
}

/// The servers with words for passwords, a database with a shop in it, and words for secrets.
async fn bench() -> (Bench, Pg, Shop, String) {
    let mut canaries = Canaries::default();
    let programs = block_in_place(programs);
    let logs = tempfile::tempdir().expect("a folder");
    let (postgres, redis) = block_in_place(|| {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
        let binaries = host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}")).expect("servers");
        let postgres = PostgresOptions {
            password: Some(canaries.word("the owner's password", &[])),
            settings: vec!["log_statement=ddl".into()],
            ..PostgresOptions::default()
        };
        let redis = Redis::start_with(&binaries, RedisOptions::default()).expect("Redis");
        (Postgres::start_with(&binaries, postgres).expect("Postgres"), redis)
    });
    let logins = [Login::of_edge(&canaries.word("an edge's password", &[])), Login::of_worker(&canaries.word("a worker's password", &[]))];
    let redis_url = redis.url();
    canaries.known("Redis' password", redis_url.split([':', '@']).nth(2).expect("a password"), &[]);

    let mut owner = Settings::new().postgres(&postgres.url()).redis(&redis_url).set("LOG__FORMAT", "json").set("LOG__FILTER", "trace");
    // The shop's own code knows the tests' usual secrets: these read, and the new ones write.
    for (name, usual) in Settings::new().environment() {
        if let Some(knob) = name.strip_prefix("ANONYMOUSPAY_").filter(|knob| knob.starts_with("SECRETS__")) {
            let text = STANDARD.encode(canaries.word("a secret", &[]) + "and as many bytes as it takes");
            owner = owner.set(knob, &format!("k1:{text},{usual}"));
        }
    }
    let owner = owner.set("EDGE__FULFILL_FALLBACK_MS", "300").set("EDGE__FULFILL_DEADLINE_MS", "1500").set("LIMITS__ANONYMOUS", "100000");
    let pg = Pg::new(&owner.load().expect("settings").postgres, "test").expect("a pool");
    storage::pg::migrations::run(&pg).await.expect("a schema");
    block_in_place(|| logins.iter().for_each(|login| postgres.add_login(login).expect("a login")));
    let [edge, worker] = logins.map(|login| owner.clone().postgres(&login.url(&postgres.url())));
    let shop = Shop::open(&pg, "demo").await.expect("a shop");
    let key = shop.unlimited_key(&pg).await.expect("a key");
    canaries.known("an API key", &key[12..], &[]);
    let bench = Bench { canaries, places: BTreeMap::new(), programs, logs, postgres, redis, owner, edge, worker };
    (bench, pg, shop, key)
}

/// What one round of requests is made of: words for everything that a caller writes.
struct Words {
    headers: Vec<(&'static str, String)>,
    body: Value,
    session: Value,
}

/// What callers call the trace of their calls: for logs and for webhooks.
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const NOWHERE: &[Place] = &[];
/// Told to whoever wrote it, and to nobody else.
const TOLD_BACK: &[Place] = &[Place::Errors];
/// The truth has them, and nobody else.
const TRUTH: &[Place] = &[Place::Dump];

impl Words {
    /// `cart` says where the session's words may be: a session that a customer opens becomes a cart.
    fn new(canaries: &mut Canaries, cart: &'static [Place]) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", canaries.word("a user agent", NOWHERE)),
            ("cookie", format!("session={}", canaries.word("a cookie", NOWHERE))),
            ("referer", format!("https://shop.example/{}", canaries.word("a referer", NOWHERE))),
            ("x-anything", canaries.word("a header", NOWHERE)),
            ("x-forwarded-for", canaries.word("a forwarded address", NOWHERE)),
            ("idempotency-key", canaries.word("an idempotency key", TRUTH)),
            // The name of a request is for logs, and is told to whoever gave it.
            ("x-request-id", canaries.word("a request's id", &[Place::EdgeLog, Place::Errors])),
            ("traceparent", format!("00-{TRACE_ID}-00f067aa0ba902b7-01")),
        ];
        let body = json!({
            "customer_email": format!("{}@shop.example", canaries.word("an e-mail address", TRUTH)),
            "external_reference": canaries.word("a reference", TRUTH),
            "items": [{ "sku": "POOL", "quantity": 1 }, { "sku": "MADE", "quantity": 1 }],
            "currency": "GBP",
            "total_minor": 2999,
        });
        let session = json!({
            "cart": { "MADE": 1 }, "currency": "GBP",
            "metadata": {
                "external_reference": canaries.word("a session's reference", cart),
                "anything": canaries.word("metadata", cart),
                "return_url_success": format!("http://shop.example/{}", canaries.word("a return URL", cart)),
            },
        });
        Self { headers, body, session }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// Every way that a request can go wrong without any server's help.
async fn all_that_goes_wrong(bench: &mut Bench, address: SocketAddr, good: &str, words: &Words) {
    let (headers, session, fulfill) = (words.headers(), "/api/v1/stores/demo/checkout/session/", fulfill_path("demo"));
    let unknown = ApiKey::generate(Mode::Live, rand::random::<u64>).expose().to_owned();
    bench.canaries.known("an unknown API key", &unknown[12..], NOWHERE);
    let malformed = format!("sk_live_{}", bench.canaries.word("a malformed API key", NOWHERE));
    let (query, segment) = (bench.canaries.word("a query", NOWHERE), bench.canaries.word("a path", TOLD_BACK));
    let stranger = bench.canaries.word("another scheme's credentials", NOWHERE);
    let with = |members: Value| {
        let mut body = words.body.clone();
        body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        body.to_string()
    };
    let text = |value: &str| words.body[value].as_str().expect("text").to_owned();
    let broken = format!("{{\"customer_email\": \"{}\", nonsense", text("customer_email"));
    let bodies = [
        with(json!({ "customer_email": format!("{} and more", text("customer_email")) })),
        with(json!({ "external_reference": text("external_reference").repeat(40) })),
        with(json!({ "items": [{ "sku": "NONE", "quantity": 1 }] })),
        with(json!({ "items": [{ "sku": "POOL", "quantity": 999 }] })),
        with(json!({ "currency": "ZZZ", "total_minor": -1 })),
        with(json!({ "customer_email": { text("customer_email"): 1 } })),
        with(json!({ "total_minor": 3000 })),
        with(json!({ "padding": "x".repeat(70_000) })),
        broken,
        String::new(),
    ];
    for http2 in [false, true] {
        let anyone = Client::new(address, http2);
        let known = anyone.with_key(good);
        for body in &bodies {
            for path in [session, fulfill.as_str()] {
                // The answer to a body that is too large may be lost together with its connection.
                match Client::new(address, http2).with_key(good).send(Method::POST, path, &headers, body.clone()).await {
                    Ok(answer) => bench.keep(&answer),
                    Err(error) => assert!(body.len() > 65_536, "{error:#}"),
                }
            }
        }
        for key in [&unknown, &malformed] {
            let answer = anyone.with_key(key).send(Method::POST, &fulfill, &headers, words.body.to_string()).await.expect("an answer");
            assert_eq!(answer.status, 401);
            bench.keep(&answer);
        }
        let basic = [&headers[..], &[("authorization", stranger.as_str())]].concat();
        bench.keep(&anyone.send(Method::POST, &fulfill, &basic, words.body.to_string()).await.expect("an answer"));
        for path in [
            format!("/{segment}/?a={query}"),
            format!("/api/v1/stores/{segment}/orders/?a={query}"),
            format!("/api/v1/stores/demo/orders/{segment}/"),
            format!("/api/v1/stores/demo/orders/?status={query}"),
            format!("/api/v1/geo/subdivisions/?country={query}"),
            format!("/api/v1/tax/rates/?country=GB&date={query}"),
            format!("/s/demo/cart/?token={query}"),
            format!("/api/v1/{segment}?key={good}"),
            format!("{session}?token={}", "x".repeat(9_000)),
        ] {
            for method in [Method::GET, Method::PUT] {
                let answer = known.send(method, &path, &headers, "").await.expect("an answer");
                bench.keep(&answer);
            }
        }
    }
}

/// Endpoints with a partner's own secret and with one of ours, and some that cannot be.
async fn webhooks(bench: &mut Bench, client: &Client, receiver: &Receiver) {
    let path = "/api/v1/stores/demo/webhooks/";
    let headers = [("content-type", "application/json")];
    let (place, token) = (bench.canaries.word("a webhook's path", TRUTH), bench.canaries.word("a token in a webhook's URL", TRUTH));
    let url = receiver.url(&format!("/{place}?token={token}"));
    let own = json!({ "url": url, "secret": bench.canaries.word("a partner's own webhook secret", NOWHERE) });
    let ours = json!({ "url": url });
    for body in [own, ours] {
        let made = client.send(Method::POST, path, &headers, body.to_string()).await.expect("an answer");
        assert_eq!(made.status, 201, "{made:?}");
        if let Some(random) = made.json()["secret"].as_str().and_then(|secret| secret.strip_prefix("whsec_")) {
            bench.canaries.known("a webhook's secret", random, NOWHERE);
        }
    }
    let (secret, url) =
        (bench.canaries.word("a webhook secret that cannot be", NOWHERE), bench.canaries.word("a webhook's URL that cannot be", NOWHERE));
    for body in [
        json!({ "url": "http://127.0.0.1/", "secret": format!("whsec_{secret}") }),
        json!({ "url": "http://127.0.0.1/", "secret": secret.repeat(20) }),
        json!({ "url": format!("http://user:{secret}@127.0.0.1/{url}") }),
        json!({ "url": format!("http://10.0.0.1/{url}") }),
        json!({ "url": format!("ftp://{url}/") }),
    ] {
        let refused = client.send(Method::POST, path, &headers, body.to_string()).await.expect("an answer");
        assert_eq!(refused.status, 400, "{refused:?}");
        bench.keep(&refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_callers_and_secrets_are_only_where_they_may_be() {
    let (mut bench, pg, shop, key) = bench().await;
    let stock: Vec<String> = (0..6).map(|_| bench.canaries.word("a license key in stock", NOWHERE)).collect();
    shop.generated(&pg, "MADE").await.expect("a product");
    shop.pooled(&pg, "POOL", &[]).await.expect("a product");
    let file = bench.logs.path().join("stock.csv");
    std::fs::write(&file, stock.join("\n")).expect("a file");
    let owner = bench.owner.clone();
    assert_eq!(bench.command(1, &owner, &["stock", "import", "--store", "demo", "--sku", "POOL", file.to_str().expect("a path")]), 0);

    let monitor = Monitor::start(&bench.redis);
    let ((edge, at), (worker, at_worker)) = (bench.start(0).await, bench.start(1).await);
    let admins = [at["admin"], at_worker["admin"]];
    let client = Client::new(at["listen"], false).with_key(&key);
    let receiver = Receiver::start(Behavior::status(500)).await.expect("a receiver");
    webhooks(&mut bench, &client, &receiver).await;
    let first = Words::new(&mut bench.canaries, TRUTH);
    let (headers, fulfill, session) = (first.headers(), fulfill_path("demo"), "/api/v1/stores/demo/checkout/session/");
    eventually("the first order", SOON, async || {
        let answer = client.send(Method::POST, &fulfill, &headers, first.body.to_string()).await.expect("an answer");
        bench.keep(&answer);
        if answer.status == 201 {
            license_keys_of(&answer).iter().skip(1).for_each(|made| bench.canaries.known("a generated license key", made, NOWHERE));
        }
        (answer.status == 201).then_some(())
    })
    .await;
    receiver.wait_for_requests(2, SOON).await.expect("both endpoints hear of it");
    let signed = client.send(Method::POST, session, &headers, first.session.to_string()).await.expect("an answer");
    assert_eq!(signed.status, 201, "{signed:?}");
    let token = signed.json()["token"].as_str().expect("a token").to_owned();
    let (_, signature) = token.rsplit_once('.').expect("a signature");
    bench.canaries.known("a session token", signature, NOWHERE);
    all_that_goes_wrong(&mut bench, at["listen"], &key, &first).await;
    let opened = client.get(&format!("/s/demo/cart/?token={token}")).await.expect("an answer");
    bench.keep(&opened);
    let made = client.send(Method::POST, &fulfill, &headers, first.body.to_string()).await.expect("an answer");
    let revoke = format!("/api/v1/stores/demo/orders/{}/revoke/", order_id_of(&made));
    for _ in 0..2 {
        let revoked = client.send(Method::POST, &revoke, &headers, "").await.expect("an answer");
        bench.keep(&revoked);
    }
    bench.look_at_admin_pages(&admins).await;
    let seen = monitor.stop();
    assert!(find(&seen, "\"PUBLISH\"").is_some());
    bench.heard(Place::Redis, seen);

    // Without a worker, without Redis, without Postgres; then all of them again.
    let second = Words::new(&mut bench.canaries, NOWHERE);
    let headers = second.headers();
    block_in_place(|| worker.signal_and_wait());
    let lying = Commands::connect(&bench.redis).everything();
    bench.heard(Place::Redis, lying);
    let accepted = client.send(Method::POST, &fulfill, &headers, second.body.to_string()).await.expect("an answer");
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let lying = Commands::connect(&bench.redis).everything();
    bench.heard(Place::Redis, lying);
    let dump = bench.dump();
    bench.heard(Place::Dump, dump);
    let (worker, at_worker) = bench.start(1).await;
    let admins = [at["admin"], at_worker["admin"]];
    eventually("the order", SOON, async || {
        let order = client.get(&format!("/api/v1/stores/demo/orders/{}/", order_id_of(&accepted))).await.expect("an answer");
        (order.json()["status"] == "fulfilled").then_some(())
    })
    .await;
    let third = Words::new(&mut bench.canaries, NOWHERE);
    let headers = third.headers();
    block_in_place(|| bench.redis.stop()).expect("an end");
    let asked = client.send(Method::POST, &fulfill, &headers, third.body.to_string()).await.expect("an answer");
    assert!([201, 202].contains(&asked.status.as_u16()), "{asked:?}");
    bench.look_at_admin_pages(&admins).await;
    block_in_place(|| bench.postgres.stop()).expect("an end");
    let fourth = Words::new(&mut bench.canaries, NOWHERE);
    let headers = fourth.headers();
    // Nobody knows them afterwards: the truth was not there.
    for canary in &mut bench.canaries.0 {
        if canary.may_be_in == TRUTH
            && fourth.body.to_string().contains(&canary.text) | fourth.headers.iter().any(|(_, value)| *value == canary.text)
        {
            canary.may_be_in = NOWHERE;
        }
    }
    let away = client.send(Method::POST, &fulfill, &headers, fourth.body.to_string()).await.expect("an answer");
    assert_eq!(away.status, 503, "{away:?}");
    bench.keep(&away);
    bench.keep(&client.send(Method::GET, "/api/v1/stores/demo/orders/", &headers, "").await.expect("an answer"));
    bench.look_at_admin_pages(&admins).await;
    for arguments in [&["store", "list"][..], &["migrate"], &["audit"], &["key", "revoke", "1"], &["secrets", "rewrap"]] {
        assert_eq!(bench.command(1, &owner, arguments), 75, "{arguments:?}");
    }
    block_in_place(|| (bench.postgres.restart().expect("Postgres"), bench.redis.restart().expect("Redis")));

    configurations(&mut bench, &stock);
    for process in std::fs::read_dir("/proc").expect("processes").flatten() {
        // One that ended since has none.
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        bench.heard(Place::CommandLines, line);
    }
    for process in [&edge, &worker] {
        let environment = std::fs::metadata(format!("/proc/{}/environ", process.pid())).expect("an environment");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&environment.permissions()) & 0o077, 0, "nobody else reads its environment");
    }
    let debug = format!("{:?} {:#?}", bench.edge.load().expect("settings"), bench.owner.load().expect("settings"));
    bench.heard(Place::Debug, debug);
    block_in_place(|| (edge.signal_and_wait(), worker.signal_and_wait()));
    for (place, name) in [(Place::EdgeLog, "edge-"), (Place::WorkerLog, "worker-")] {
        let logs =
            std::fs::read_dir(bench.logs.path()).expect("logs").flatten().filter(|log| log.file_name().to_string_lossy().starts_with(name));
        let said: Vec<u8> = logs.flat_map(|log| std::fs::read(log.path()).expect("a log")).collect();
        assert!(find(&said, "\"DEBUG\"").is_some(), "{place:?} is not as fine as it can be");
        if place == Place::WorkerLog {
            let refused = String::from_utf8_lossy(&said).lines().filter(|line| line.contains("a webhook was not taken")).count();
            let found =
                String::from_utf8_lossy(&said).lines().any(|line| line.contains("a webhook was not taken") && line.contains(TRACE_ID));
            assert!(found, "{refused} webhooks were refused, and none is found by its caller's trace");
        }
        bench.heard(place, said);
    }
    let dump = bench.dump();
    bench.heard(Place::Dump, dump);
    let lying = Commands::connect(&bench.redis).everything();
    bench.heard(Place::Redis, lying);
    let server_logs = [bench.postgres.process().log().to_owned(), bench.redis.process().log().to_owned()];
    for log in server_logs {
        let log = std::fs::read(log).expect("a log");
        bench.heard(Place::ServerLogs, log);
    }
    let leaks = bench.canaries.leaks(&bench.places);
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n\n"));
}

/// Configurations that cannot be used, each with a word in it; and those that can, shown.
fn configurations(bench: &mut Bench, stock: &[String]) {
    let owner = bench.owner.clone();
    let secret = |bench: &mut Bench| bench.canaries.word("a secret that cannot be used", NOWHERE);
    let password = bench.canaries.word("a password in a URL that cannot be used", NOWHERE);
    let broken = [
        owner.clone().postgres(&format!("postgres://user:{password}@/nowhere/@")),
        owner.clone().postgres(&password),
        owner.clone().redis(&format!("redis://:{password}@host:none/x")),
        owner.clone().set("SECRETS__SEALING", &secret(bench)),
        owner.clone().set("SECRETS__SEALING", &format!("k1:{}", secret(bench))),
        owner.clone().set("SECRETS__SEALING", &format!("{}:k1", secret(bench))),
        owner.clone().set("SECRETS__API_KEY_PEPPER", &format!("k1:{0},k1:{0}", STANDARD.encode(secret(bench)))),
    ];
    for settings in &broken {
        for (which, arguments) in [(0, ["check-config"]), (0, ["run"]), (1, ["check-config"]), (1, ["run"]), (1, ["migrate"])] {
            assert_eq!(bench.command(which, settings, &arguments), 78, "{arguments:?}");
        }
    }
    for which in [0, 1] {
        assert_eq!(bench.command(which, &owner, &["check-config"]), 0);
    }
    // A password that the server refuses, a login that may not, files that are not what they should be.
    let refused =
        owner.clone().postgres(&bench.edge.load().expect("settings").postgres.url.expose().replace("edge:canary", "edge:canaryx"));
    assert_eq!(bench.command(1, &refused, &["store", "list"]), 1);
    let edge = bench.edge.clone();
    assert_eq!(bench.command(1, &edge, &["store", "create", "--slug", "other", "--name", "x"]), 77);
    assert_eq!(bench.command(1, &edge, &["migrate"]), 77);
    let file = bench.logs.path().join("broken.csv");
    let path = file.to_str().expect("a path").to_owned();
    std::fs::write(&file, format!("{}\n{}\u{0}\n{}", stock[0], stock[1], stock[2].repeat(100))).expect("a file");
    for arguments in [
        &["stock", "import", "--store", "demo", "--sku", "POOL", &path][..],
        &["stock", "release", "--store", "demo", "--sku", "POOL", &path],
    ] {
        bench.command(1, &owner, arguments);
        bench.command(1, &owner, &[arguments, &["--json"]].concat());
    }
    for arguments in [
        &["store", "list"][..],
        &["stock", "level", "--store", "demo"],
        &["key", "list", "--store", "demo"],
        &["audit"],
        &["secrets", "rewrap"],
    ] {
        assert_eq!(bench.command(1, &owner, arguments), 0, "{arguments:?}");
    }
}

/// Ends a process as its supervisor would.
trait Ending {
    fn signal_and_wait(self);
}

impl Ending for Process {
    fn signal_and_wait(mut self) {
        let stopped = self.stop(Signal::TERM, SOON * 2).expect("an end");
        assert!(stopped.by_itself, "{}", self.log_tail(20));
    }
}
