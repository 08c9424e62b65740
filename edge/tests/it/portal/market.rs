//! The marketplace tab: what a partner says there is what the marketplace shows, and no more than that.

use super::*;

const TAB: &str = "/portal/stores/demo/market/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_is_shown_as_its_partner_says() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Developer).await;
    let mut browser = signed_in(&stage, OWNER).await;
    let page = browser.get(TAB).await;
    page.has("MADE").has("not shown").has("£29.99");
    let rows = page.text.split_once("<tbody>").unwrap().1;
    let address = rows.split_once("href=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let page = browser.get(&address).await;
    page.has("Preview").has_not("See it on the marketplace");
    let long = "x".repeat(501);
    for (title, text) in [("T", long.as_str()), (&long[..101], ""), ("T\u{7}", "")] {
        let refused = browser.submit(&page, &[("listed", "on"), ("title", title), ("text", text)]).await;
        assert_eq!(refused.status(), 400, "{title:?}");
        refused.has("Nothing was changed.");
    }
    let text = format!("{} line\r\n  <b>second</b> line", "ä".repeat(450));
    let saved = browser.submit(&page, &[("listed", "on"), ("title", "The <best>"), ("text", &text)]).await;
    saved.has("The marketplace shows it.").has("See it on the marketplace").has("line &#60;b&#62;second&#60;/b&#62; line");
    let shelf = browser.get(saved.between("class=\"button plain\" href=\"", "\"").unwrap().replace("&#38;", "&").as_str()).await;
    shelf.has("The &#60;best&#62;").has("&#60;b&#62;second").has("£29.99").has_not("<b>second");
    browser.get("/market/?q=second+best").await.has("The &#60;best&#62;");

    // Off, and on again: what was said is kept.
    let off = browser.submit(&page, &[("title", "The <best>"), ("text", "short")]).await;
    off.has("does not show it").has("short");
    browser.get("/market/").await.has_not("best");
    let on = browser.submit(&page, &[("listed", "on"), ("title", ""), ("text", "")]).await;
    on.has("The marketplace shows it.");
    browser.get("/market/").await.has("<h2>MADE</h2>");
    let log = browser.get("/portal/stores/demo/audit-log/?kind=listing").await;
    log.has(OWNER).has("changed what the marketplace shows of").has("short");
}
