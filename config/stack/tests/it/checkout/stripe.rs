//! A Stripe for tests, as far as payments go: it makes one payment intent for each idempotency key, and can be in every bad mood.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::ids::OrderId;
use serde_json::{Value, json};
use testkit::stripe::Payment;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it wants to see as `Authorization`.
pub const SECRET_KEY: &str = "sk_live_checkout";
/// The same of test mode.
pub const TEST_KEY: &str = "sk_test_checkout";

/// What becomes of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As documented.
    Good,
    /// An error with this status.
    Status(u16),
    /// Nothing is answered.
    Silent,
    /// 200, and no JSON.
    Garbage,
    /// A payment of another amount.
    OtherAmount,
    /// A payment of another order.
    OtherOrder,
}

/// A payment intent.
#[derive(Debug, Clone)]
pub struct Made {
    /// `pi_…`
    pub id: String,
    /// The idempotency key that it was made for.
    pub key: String,
    /// As Stripe counts.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// From the metadata.
    pub order_id: String,
    /// Whether the customer has paid it.
    pub is_paid: bool,
}

struct State {
    mood: Mood,
    asked: usize,
    made: BTreeMap<String, Made>,
}

/// The Stripe.
pub struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Listens on loopback until the test ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { mood: Mood::Good, asked: 0, made: BTreeMap::new() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state }
    }

    /// For `stripe.api_base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it answers.
    pub fn answer(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// What it has made.
    pub fn made(&self) -> Vec<Made> {
        self.state.lock().unwrap().made.values().cloned().collect()
    }

    /// How often it was asked to make a payment.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// The customer pays in Stripe's form.
    pub fn pay(&self, key: &str) {
        self.state.lock().unwrap().made.get_mut(key).unwrap().is_paid = true;
    }

    /// The event that Stripe sends then.
    pub fn event(&self, key: &str) -> Value {
        let made = self.state.lock().unwrap().made[key].clone();
        let order = OrderId::parse(&made.order_id).unwrap();
        Payment { id: &made.id, livemode: true, amount: made.amount, currency: &made.currency }.succeeded("evt_fake", &order)
    }
}

fn intent(made: &Made) -> Value {
    json!({
        "id": made.id, "object": "payment_intent", "client_secret": format!("{}_secret_{}", made.id, made.key.len()),
        "amount": made.amount, "amount_received": if made.is_paid { made.amount } else { 0 }, "currency": made.currency,
        "status": if made.is_paid { "succeeded" } else { "requires_payment_method" }, "metadata": {"order_id": made.order_id},
    })
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some((line, headers, body)) = read(&mut stream).await {
        let mood = state.lock().unwrap().mood;
        if mood == Mood::Silent {
            return std::future::pending().await;
        }
        let (status, answer) = reply(&line, &headers, &body, mood, &state);
        let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.get_mut().write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, BTreeMap<String, String>, String)> {
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((line, headers, String::from_utf8(body).unwrap()))
}

fn reply(line: &str, headers: &BTreeMap<String, String>, body: &str, mood: Mood, state: &Mutex<State>) -> (u16, String) {
    let error = |status: u16| (status, json!({"error": {"type": "api_error", "code": "trouble", "message": SECRET_KEY}}).to_string());
    match mood {
        Mood::Status(status) => return error(status),
        Mood::Garbage => return (200, "<html>".to_owned()),
        _ => {}
    }
    let is_known = [SECRET_KEY, TEST_KEY].iter().any(|key| headers.get("authorization") == Some(&format!("Bearer {key}")));
    if !is_known || !headers.contains_key("stripe-version") {
        return error(401);
    }
    let mut state = state.lock().unwrap();
    let mut made = if line.starts_with("POST /v1/payment_intents HTTP/1.1") {
        let fields: BTreeMap<String, String> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.replace("%5B", "[").replace("%5D", "]"), value.to_owned()))
            .collect();
        let key = headers["idempotency-key"].clone();
        state.asked += 1;
        let number = state.made.len();
        let new = || Made {
            id: format!("pi_fake{number}"),
            key: key.clone(),
            amount: fields["amount"].parse().unwrap(),
            currency: fields["currency"].clone(),
            order_id: fields["metadata[order_id]"].clone(),
            is_paid: false,
        };
        state.made.entry(key.clone()).or_insert_with(new).clone()
    } else {
        let id = line.strip_prefix("GET /v1/payment_intents/").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        match state.made.values().find(|made| made.id == id) {
            Some(made) => made.clone(),
            None => return error(404),
        }
    };
    match mood {
        Mood::OtherAmount => made.amount -= 1,
        Mood::OtherOrder => made.order_id = OrderId::new(3, 4).as_str().to_owned(),
        _ => {}
    }
    (200, intent(&made).to_string())
}
