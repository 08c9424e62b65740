//! The worker's jobs, one file each: what it is called, when it runs, what it does. Reading this list is knowing the chores.

pub mod apply_stripe_events;
pub mod complete_orders;
pub mod compute_tax;
pub mod create_payment;
pub mod deliver_webhook;
pub mod expire_orders;
pub mod follow_taxes;
pub mod fulfill_order;
pub mod observe;
pub mod poll_webhooks;
pub mod prune;
