//! Everything a request may need, made once and shared.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::geo::Subdivisions;
use common::receipt::ReceiptSigner;
use common::seal::Sealer;
use common::session::SessionSigner;
use common::webhook_target::Rules;
use ipnet::IpNet;
use storage::Pg;
use storage::pg::tax_rates::LiveTable;

use crate::api::subdivisions::SubdivisionBodies;
use crate::fulfillment::Fulfillment;
use crate::gate::Gate;
use crate::metrics::EdgeMetrics;
use crate::payments::Payments;
use crate::portal::Portal;
use crate::router::Router;
use crate::snapshot::Snapshot;
use crate::stripe::Intake;
use crate::tax_quotes::TaxQuotes;

/// The edge.
pub struct Edge {
    /// Where a request leads.
    pub router: Router,
    /// Who may.
    pub gate: Gate,
    /// What is known by heart.
    pub snapshot: Arc<Snapshot>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes session tokens.
    pub signer: SessionSigner,
    /// Makes links to receipts.
    pub receipts: ReceiptSigner,
    /// Asks workers.
    pub fulfillment: Fulfillment,
    /// Asks workers for taxes.
    pub tax_quotes: TaxQuotes,
    /// How customers pay, and by what.
    pub payments: Payments,
    /// Reads orders.
    pub pg: Pg,
    /// Opens license keys.
    pub licenses: Sealer,
    /// Seals what signs webhooks.
    pub webhook_secrets: Sealer,
    /// Where partners run their stores.
    pub portal: Portal,
    /// Where Stripe's events come in.
    pub stripe: Intake,
    /// Countries and their subdivisions.
    pub geo: Arc<Subdivisions>,
    /// Answers of the subdivisions endpoint.
    pub subdivisions: SubdivisionBodies,
    /// Tax rates.
    pub taxes: Arc<LiveTable>,
    /// What is counted.
    pub metrics: EdgeMetrics,
    /// How it is set.
    pub knobs: Knobs,
}

/// The settings that requests feel.
#[derive(Debug, Clone)]
pub struct Knobs {
    /// What customers see of us, without a trailing slash.
    pub public_base_url: String,
    /// Whether return URLs must be https.
    pub https_only: bool,
    /// Which URLs may be webhook endpoints.
    pub webhook_rules: Rules,
    /// The most bytes of a body.
    pub body_max_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The most bytes of a request target.
    pub uri_max_bytes: usize,
    /// The most bytes of a request head.
    pub head_max_bytes: usize,
    /// The most header fields of a request.
    pub head_fields_max: usize,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a checkout session lives when its request does not say.
    pub session_lifetime_s: u64,
}
