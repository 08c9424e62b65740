//! Who may sign in to the portal.

use serde_json::json;

use super::Installation;

#[tokio::test]
async fn partners_are_let_in_by_a_link_listed_and_taken_out() {
    let installation = Installation::with_products().await;
    let invite = |role: &str| installation.json(&["partner", "invite", "Ann@Shop.Example", "--store", "demo", "--role", role]);
    let invited = invite("developer");
    let link = invited["link"].as_str().unwrap();
    let secret = link.trim_end_matches('/').rsplit('/').next().unwrap();
    assert_eq!((&invited["email"], &invited["role"]), (&json!("ann@shop.example"), &json!("developer")));
    assert!(link.contains("/portal/password/") && secret.len() == 43, "{link}");
    // Neither the link nor anything of it is kept, and a second one takes its place.
    let again = invite("owner");
    assert_ne!(again["link"], invited["link"]);
    assert_eq!(installation.count("select count(*) from account_invites where octet_length(digest) = 32").await, 1);
    let in_a_day = "expires_at between now() + interval '23 hours 50 minutes' and now() + interval '24 hours'";
    assert_eq!(installation.count(&format!("select count(*) from account_invites where {in_a_day}")).await, 1);
    assert_eq!(installation.count("select count(*) from accounts").await, 1);

    let listed = installation.json(&["partner", "list", "--store", "demo"]);
    assert_eq!((listed[0]["email"].as_str(), listed[0]["role"].as_str()), (Some("ann@shop.example"), Some("owner")));
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["has_password"]), (1, &json!(false)));

    let remove = ["partner", "remove", "ann@shop.example", "--store", "demo"];
    installation.json(&remove);
    installation.run(&remove).fails(1, &["ann@shop.example is nobody in store", "worker partner list"]);
    installation.run(&["partner", "invite", "ann", "--store", "demo", "--role", "owner"]).fails(2, &["no e-mail address"]);
    installation.run(&["partner", "invite", "a@b.example", "--store", "demo", "--role", "boss"]).fails(2, &["read-only"]);
    installation.run(&["partner", "invite", "a@b.example", "--store", "none", "--role", "owner"]).fails(1, &["no store"]);
}
