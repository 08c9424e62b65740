//! Every sentence that customers read on hosted pages, in each language that we speak. A sentence that lacks a language does not compile.
//! What stands in braces is filled in by [`fill`].

use super::locale::Language;

macro_rules! texts {
    ($($name:ident: $en:literal, $de:literal, $fr:literal, $es:literal;)+) => {
        /// The sentences in one language. Each is named after what it is for.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "the sentences speak for themselves")]
        pub struct Texts { $(pub $name: &'static str,)+ }

        static ENGLISH: Texts = Texts { $($name: $en,)+ };
        static GERMAN: Texts = Texts { $($name: $de,)+ };
        static FRENCH: Texts = Texts { $($name: $fr,)+ };
        static SPANISH: Texts = Texts { $($name: $es,)+ };

        #[cfg(test)]
        const ALL: &[[&str; 4]] = &[$([$en, $de, $fr, $es],)+];
    };
}

/// The sentences of a language.
pub fn of(language: Language) -> &'static Texts {
    match language {
        Language::English => &ENGLISH,
        Language::German => &GERMAN,
        Language::French => &FRENCH,
        Language::Spanish => &SPANISH,
    }
}

/// Fills in what stands in braces. What is filled in is not looked at again.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, (name, after))) = rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?))) {
        filled.push_str(before);
        filled.push_str(values.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

texts! {
    skip_to_content: "Skip to content", "Zum Inhalt springen", "Aller au contenu", "Ir al contenido";
    steps: "Steps", "Schritte", "Étapes", "Pasos";
    step_cart: "Cart", "Warenkorb", "Panier", "Carrito";
    step_details: "Details", "Angaben", "Coordonnées", "Datos";
    step_payment: "Payment", "Zahlung", "Paiement", "Pago";
    test_mode: "Test mode: nothing is charged, and license keys come from test stock.",
        "Testmodus: Es wird nichts berechnet, und Lizenzschlüssel kommen aus dem Testbestand.",
        "Mode test : rien n’est facturé et les clés de licence proviennent du stock de test.",
        "Modo de prueba: no se cobra nada y las claves de licencia salen de las existencias de prueba.";
    back_to_shop: "Back to the shop", "Zurück zum Shop", "Retour à la boutique", "Volver a la tienda";
    footer: "Secure checkout by AnonymousPay", "Sicher bezahlen mit AnonymousPay", "Paiement sécurisé par AnonymousPay", "Pago seguro con AnonymousPay";

    cart_title: "Your cart", "Ihr Warenkorb", "Votre panier", "Su carrito";
    cart_empty: "Your cart is empty.", "Ihr Warenkorb ist leer.", "Votre panier est vide.", "Su carrito está vacío.";
    cart_product: "Product", "Produkt", "Produit", "Producto";
    cart_quantity: "Quantity", "Menge", "Quantité", "Cantidad";
    cart_quantity_of: "Quantity of {product}", "Menge von {product}", "Quantité de {product}", "Cantidad de {product}";
    cart_each: "{price} each", "je {price}", "{price} l’unité", "{price} por unidad";
    cart_update: "Update", "Aktualisieren", "Mettre à jour", "Actualizar";
    cart_remove: "Remove", "Entfernen", "Supprimer", "Quitar";
    cart_remove_of: "Remove {product}", "{product} entfernen", "Supprimer {product}", "Quitar {product}";
    cart_subtotal: "Subtotal", "Zwischensumme", "Sous-total", "Subtotal";
    cart_tax_later: "Tax is shown once we know your country.", "Die Steuer wird angezeigt, sobald wir Ihr Land kennen.",
        "Les taxes sont indiquées dès que nous connaissons votre pays.", "Los impuestos se muestran en cuanto sepamos su país.";
    cart_continue: "Continue", "Weiter", "Continuer", "Continuar";
    cart_gone: "Not sold any more", "Wird nicht mehr verkauft", "N’est plus en vente", "Ya no se vende";
    cart_gone_help: "Something in this cart is not sold any more in this currency. Remove it to go on.",
        "Etwas in diesem Warenkorb wird in dieser Währung nicht mehr verkauft. Entfernen Sie es, um fortzufahren.",
        "Un article de ce panier n’est plus vendu dans cette devise. Supprimez-le pour continuer.",
        "Algo de este carrito ya no se vende en esta moneda. Quítelo para continuar.";
    cart_gone_fixed: "Something in this cart is not sold any more in this currency. Please go back to the shop and start again.",
        "Etwas in diesem Warenkorb wird in dieser Währung nicht mehr verkauft. Bitte kehren Sie zum Shop zurück und beginnen Sie von vorn.",
        "Un article de ce panier n’est plus vendu dans cette devise. Veuillez retourner à la boutique et recommencer.",
        "Algo de este carrito ya no se vende en esta moneda. Vuelva a la tienda y empiece de nuevo.";

    details_title: "Your details", "Ihre Angaben", "Vos coordonnées", "Sus datos";
    details_email: "E-mail address", "E-Mail-Adresse", "Adresse e-mail", "Correo electrónico";
    details_email_help: "Your order is known to the shop by it.", "Unter ihr kennt der Shop Ihre Bestellung.",
        "La boutique s’en sert pour identifier votre commande.", "La tienda identifica su pedido con ella.";
    details_country: "Country", "Land", "Pays", "País";
    details_choose: "Please choose", "Bitte wählen", "Veuillez choisir", "Elija una opción";
    details_subdivision: "State or region", "Bundesland oder Region", "État ou région", "Estado o región";
    details_vat_id: "VAT number (businesses, optional)", "USt-IdNr. (Unternehmen, freiwillig)",
        "Numéro de TVA (entreprises, facultatif)", "NIF-IVA (empresas, opcional)";
    details_vat_id_help: "With your country's letters in front, such as GB123456789.", "Mit dem Länderkürzel davor, etwa DE123456789.",
        "Avec le code du pays devant, par exemple FR12345678901.", "Con las letras del país delante, por ejemplo ESA12345678.";
    details_wrong: "Please check what is marked below.", "Bitte prüfen Sie die markierten Angaben.",
        "Veuillez vérifier les champs signalés ci-dessous.", "Revise los campos señalados abajo.";
    details_email_wrong: "Enter an e-mail address, such as name@example.com.", "Geben Sie eine E-Mail-Adresse ein, etwa name@example.com.",
        "Saisissez une adresse e-mail, par exemple nom@example.com.", "Escriba un correo electrónico, por ejemplo nombre@example.com.";
    details_country_wrong: "Choose your country.", "Wählen Sie Ihr Land.", "Choisissez votre pays.", "Elija su país.";
    details_subdivision_wrong: "Choose your state or region.", "Wählen Sie Ihr Bundesland oder Ihre Region.",
        "Choisissez votre État ou région.", "Elija su estado o región.";
    details_vat_id_wrong: "This is no VAT number: it begins with two letters, then 2 to 13 letters and digits.",
        "Das ist keine USt-IdNr.: Sie beginnt mit zwei Buchstaben, dann folgen 2 bis 13 Buchstaben und Ziffern.",
        "Ce n’est pas un numéro de TVA : il commence par deux lettres, suivies de 2 à 13 lettres et chiffres.",
        "No es un NIF-IVA: empieza por dos letras, seguidas de 2 a 13 letras y cifras.";

    pay_title: "Check and pay", "Prüfen und bezahlen", "Vérifier et payer", "Revisar y pagar";
    pay_summary: "Your order", "Ihre Bestellung", "Votre commande", "Su pedido";
    pay_change: "Change", "Ändern", "Modifier", "Cambiar";
    pay_change_details: "Change your details", "Ihre Angaben ändern", "Modifier vos coordonnées", "Cambiar sus datos";
    pay_included: "includes {tax}", "enthält {tax}", "dont {tax}", "incluye {tax}";
    pay_total: "Total", "Gesamtbetrag", "Total", "Total";
    pay_reverse_charge: "Reverse charge: you account for the VAT yourself.",
        "Steuerschuldnerschaft des Leistungsempfängers: Sie führen die Umsatzsteuer selbst ab.",
        "Autoliquidation : la TVA est due par le preneur.", "Inversión del sujeto pasivo: usted declara el IVA.";
    pay_no_tax: "No tax is charged.", "Es wird keine Steuer berechnet.", "Aucune taxe n’est facturée.", "No se cobran impuestos.";
    pay_now: "Pay {total}", "{total} bezahlen", "Payer {total}", "Pagar {total}";
    pay_place_order: "Order for {total}", "Kostenpflichtig bestellen: {total}", "Commander pour {total}", "Pedir por {total}";
    pay_quote_late: "We could not work out the tax just now", "Die Steuer konnte gerade nicht berechnet werden",
        "Nous n’avons pas pu calculer les taxes", "No hemos podido calcular los impuestos";
    pay_quote_late_help: "Nothing was charged, and your cart is kept. Please try again in a moment.",
        "Es wurde nichts berechnet, und Ihr Warenkorb bleibt erhalten. Bitte versuchen Sie es gleich noch einmal.",
        "Rien n’a été facturé et votre panier est conservé. Veuillez réessayer dans un instant.",
        "No se ha cobrado nada y su carrito se conserva. Inténtelo de nuevo en un momento.";
    pay_try_again: "Try again", "Noch einmal versuchen", "Réessayer", "Intentar de nuevo";
    pay_price_changed: "Something changed since you looked: please check the total again.",
        "Seit Sie hingesehen haben, hat sich etwas geändert: Bitte prüfen Sie den Gesamtbetrag noch einmal.",
        "Quelque chose a changé entre-temps : veuillez vérifier à nouveau le total.",
        "Algo ha cambiado mientras tanto: revise de nuevo el total.";
    pay_not_set_up: "This shop cannot take payments yet. Nothing was charged.", "Dieser Shop kann noch keine Zahlungen annehmen. Es wurde nichts berechnet.",
        "Cette boutique ne peut pas encore accepter de paiements. Rien n’a été facturé.", "Esta tienda aún no puede aceptar pagos. No se ha cobrado nada.";

    payment_title: "Payment", "Zahlung", "Paiement", "Pago";
    payment_card: "Card details", "Kartendaten", "Coordonnées bancaires", "Datos de la tarjeta";
    payment_loading: "Loading the payment form…", "Das Zahlungsformular wird geladen …", "Chargement du formulaire de paiement…", "Cargando el formulario de pago…";
    payment_unreachable: "The payment form could not be loaded. Nothing was charged. Please load this page again.",
        "Das Zahlungsformular konnte nicht geladen werden. Es wurde nichts berechnet. Bitte laden Sie diese Seite neu.",
        "Le formulaire de paiement n’a pas pu être chargé. Rien n’a été facturé. Veuillez recharger cette page.",
        "No se ha podido cargar el formulario de pago. No se ha cobrado nada. Vuelva a cargar esta página.";
    payment_needs_script: "Card payments need JavaScript. Please turn it on and load this page again.",
        "Kartenzahlungen brauchen JavaScript. Bitte schalten Sie es ein und laden Sie diese Seite neu.",
        "Le paiement par carte nécessite JavaScript. Veuillez l’activer puis recharger cette page.",
        "El pago con tarjeta necesita JavaScript. Actívelo y vuelva a cargar esta página.";
    payment_test_help: "No payment provider is set up on this development system. This button sends a genuinely signed payment event, so that the whole way can be walked.",
        "Auf diesem Entwicklungssystem ist kein Zahlungsanbieter eingerichtet. Dieser Knopf schickt ein echt signiertes Zahlungsereignis, damit sich der ganze Weg gehen lässt.",
        "Aucun prestataire de paiement n’est configuré sur ce système de développement. Ce bouton envoie un événement de paiement réellement signé, pour parcourir tout le chemin.",
        "En este sistema de desarrollo no hay proveedor de pagos. Este botón envía un evento de pago firmado de verdad, para recorrer todo el camino.";
    payment_test_pay: "Make the test payment", "Testzahlung auslösen", "Effectuer le paiement test", "Hacer el pago de prueba";

    receipt_title: "Order {order}", "Bestellung {order}", "Commande {order}", "Pedido {order}";
    receipt_fulfilled: "Thank you. Here are your license keys.", "Vielen Dank. Hier sind Ihre Lizenzschlüssel.",
        "Merci. Voici vos clés de licence.", "Gracias. Aquí tiene sus claves de licencia.";
    receipt_waiting: "We are waiting for your payment to be confirmed.", "Wir warten auf die Bestätigung Ihrer Zahlung.",
        "Nous attendons la confirmation de votre paiement.", "Estamos esperando la confirmación de su pago.";
    receipt_waiting_help: "This page looks again by itself. You may also come back to it later.",
        "Diese Seite sieht von selbst wieder nach. Sie können auch später zurückkommen.",
        "Cette page se met à jour d’elle-même. Vous pouvez aussi y revenir plus tard.",
        "Esta página se actualiza sola. También puede volver más tarde.";
    receipt_processing: "Your payment has arrived. Your license keys are being prepared.", "Ihre Zahlung ist da. Ihre Lizenzschlüssel werden bereitgestellt.",
        "Votre paiement est arrivé. Vos clés de licence sont en préparation.", "Su pago ha llegado. Estamos preparando sus claves de licencia.";
    receipt_awaiting_stock: "Your payment has arrived, and the shop is out of stock just now. Your license keys appear here as soon as there are new ones.",
        "Ihre Zahlung ist da, nur hat der Shop gerade keinen Bestand. Ihre Lizenzschlüssel erscheinen hier, sobald es neue gibt.",
        "Votre paiement est arrivé, mais la boutique est en rupture de stock. Vos clés de licence apparaîtront ici dès qu’il y en aura.",
        "Su pago ha llegado, pero la tienda no tiene existencias en este momento. Sus claves aparecerán aquí en cuanto las haya.";
    receipt_refunded: "This order was refunded. Its license keys cannot be used any more.", "Diese Bestellung wurde erstattet. Ihre Lizenzschlüssel können nicht mehr verwendet werden.",
        "Cette commande a été remboursée. Ses clés de licence ne sont plus utilisables.", "Este pedido se ha reembolsado. Sus claves ya no se pueden usar.";
    receipt_partially_refunded: "Part of this order was refunded.", "Ein Teil dieser Bestellung wurde erstattet.",
        "Une partie de cette commande a été remboursée.", "Una parte de este pedido se ha reembolsado.";
    receipt_disputed: "The payment of this order is disputed. Until that is settled, its license keys are not shown.",
        "Die Zahlung dieser Bestellung ist strittig. Bis das geklärt ist, werden die Lizenzschlüssel nicht angezeigt.",
        "Le paiement de cette commande est contesté. Ses clés de licence ne sont pas affichées d’ici là.",
        "El pago de este pedido está en disputa. Hasta que se resuelva, no se muestran sus claves.";
    receipt_ended: "This order has ended without license keys. If you have paid, please write to the shop and name the order's number.",
        "Diese Bestellung endete ohne Lizenzschlüssel. Falls Sie bezahlt haben, schreiben Sie bitte dem Shop und nennen Sie die Bestellnummer.",
        "Cette commande s’est terminée sans clés de licence. Si vous avez payé, écrivez à la boutique en indiquant le numéro de commande.",
        "Este pedido terminó sin claves de licencia. Si ha pagado, escriba a la tienda e indique el número de pedido.";
    receipt_keys_of: "License keys for {product}", "Lizenzschlüssel für {product}", "Clés de licence pour {product}", "Claves de licencia de {product}";
    receipt_keep: "Keep the address of this page: whoever has it sees the license keys.", "Bewahren Sie die Adresse dieser Seite auf: Wer sie hat, sieht die Lizenzschlüssel.",
        "Conservez l’adresse de cette page : quiconque la possède voit les clés de licence.", "Guarde la dirección de esta página: quien la tenga ve las claves.";
    receipt_copy: "Copy", "Kopieren", "Copier", "Copiar";
    receipt_copied: "Copied", "Kopiert", "Copié", "Copiado";
    receipt_bought_at: "Bought on {date} at {store}", "Gekauft am {date} bei {store}", "Acheté le {date} chez {store}", "Comprado el {date} en {store}";
    receipt_pay_now: "Go to the payment", "Zur Zahlung", "Passer au paiement", "Ir al pago";
    receipt_look_again: "Look again", "Noch einmal nachsehen", "Vérifier à nouveau", "Comprobar de nuevo";
    receipt_next_store: "Go on with the rest of your marketplace cart", "Weiter mit dem Rest Ihres Marktplatz-Warenkorbs",
        "Continuer avec le reste de votre panier", "Continuar con el resto de su carrito";

    market_title: "Marketplace", "Marktplatz", "Place de marché", "Mercado";
    market_search: "Search products and shops", "Produkte und Shops suchen", "Rechercher produits et boutiques", "Buscar productos y tiendas";
    market_search_button: "Search", "Suchen", "Rechercher", "Buscar";
    market_currency: "Currency", "Währung", "Devise", "Moneda";
    market_sold_by: "Sold by {store}", "Verkauft von {store}", "Vendu par {store}", "Vendido por {store}";
    market_add: "Add to cart", "In den Warenkorb", "Ajouter au panier", "Añadir al carrito";
    market_add_of: "Add {product} to cart", "{product} in den Warenkorb", "Ajouter {product} au panier", "Añadir {product} al carrito";
    market_none: "Nothing was found. Try other words or another currency.", "Nichts gefunden. Versuchen Sie andere Wörter oder eine andere Währung.",
        "Aucun résultat. Essayez d’autres mots ou une autre devise.", "No se ha encontrado nada. Pruebe con otras palabras u otra moneda.";
    market_cart: "Cart ({count})", "Warenkorb ({count})", "Panier ({count})", "Carrito ({count})";
    market_cart_help: "Each shop is paid on its own, one after the other. You enter your details once.",
        "Jeder Shop wird einzeln bezahlt, einer nach dem anderen. Ihre Angaben machen Sie nur einmal.",
        "Chaque boutique est payée séparément, l’une après l’autre. Vous ne saisissez vos coordonnées qu’une fois.",
        "Cada tienda se paga por separado, una tras otra. Sus datos solo los indica una vez.";
    market_checkout: "Check out at {store}", "Bei {store} bezahlen", "Payer chez {store}", "Pagar en {store}";
    market_back: "Back to the marketplace", "Zurück zum Marktplatz", "Retour à la place de marché", "Volver al mercado";
    market_more: "More", "Mehr", "Plus", "Más";

    problem_not_found: "This page does not exist", "Diese Seite gibt es nicht", "Cette page n’existe pas", "Esta página no existe";
    problem_not_found_help: "Check the address. If it is your cart, open it again from the shop, in the browser that you used before.",
        "Prüfen Sie die Adresse. Ist es Ihr Warenkorb, öffnen Sie ihn noch einmal vom Shop aus, im selben Browser wie zuvor.",
        "Vérifiez l’adresse. S’il s’agit de votre panier, rouvrez-le depuis la boutique, dans le navigateur utilisé auparavant.",
        "Compruebe la dirección. Si es su carrito, ábralo de nuevo desde la tienda, en el navegador que usó antes.";
    problem_expired: "This checkout has expired", "Diese Bestellung ist abgelaufen", "Cette commande a expiré", "Este pedido ha caducado";
    problem_expired_help: "Nothing was charged. Go back to the shop and start the checkout again.",
        "Es wurde nichts berechnet. Kehren Sie zum Shop zurück und beginnen Sie noch einmal.",
        "Rien n’a été facturé. Retournez à la boutique et recommencez la commande.",
        "No se ha cobrado nada. Vuelva a la tienda y empiece de nuevo.";
    problem_bad_token: "This checkout link does not work", "Dieser Bestelllink funktioniert nicht", "Ce lien de commande ne fonctionne pas", "Este enlace de pago no funciona";
    problem_bad_token_help: "It was cut off, changed, or belongs to another shop. Nothing was charged. Go back to the shop and start the checkout again.",
        "Er wurde abgeschnitten, verändert oder gehört zu einem anderen Shop. Es wurde nichts berechnet. Kehren Sie zum Shop zurück und beginnen Sie noch einmal.",
        "Il a été tronqué, modifié ou appartient à une autre boutique. Rien n’a été facturé. Retournez à la boutique et recommencez.",
        "Está cortado, modificado o es de otra tienda. No se ha cobrado nada. Vuelva a la tienda y empiece de nuevo.";
    problem_used: "This checkout was completed in another browser", "Diese Bestellung wurde in einem anderen Browser abgeschlossen",
        "Cette commande a été finalisée dans un autre navigateur", "Este pedido se completó en otro navegador";
    problem_used_help: "Its order can be seen there. To buy again, go back to the shop and start anew.",
        "Dort ist sie zu sehen. Um noch einmal zu kaufen, kehren Sie zum Shop zurück und beginnen Sie von vorn.",
        "Elle peut y être consultée. Pour acheter à nouveau, retournez à la boutique et recommencez.",
        "Puede verlo allí. Para comprar otra vez, vuelva a la tienda y empiece de nuevo.";
    problem_reference_used: "This purchase was made already", "Dieser Kauf wurde schon abgeschlossen", "Cet achat a déjà été effectué", "Esta compra ya se hizo";
    problem_reference_used_help: "The shop knows an order for it. Nothing more was charged.", "Der Shop kennt dazu schon eine Bestellung. Es wurde nichts weiter berechnet.",
        "La boutique connaît déjà une commande correspondante. Rien de plus n’a été facturé.", "La tienda ya tiene un pedido para ella. No se ha cobrado nada más.";
    problem_bad_link: "This link cannot be used", "Dieser Link lässt sich nicht verwenden", "Ce lien est inutilisable", "Este enlace no se puede usar";
    problem_bad_link_help: "The shop's link into the cart is not as it should be. Please tell the shop what stands below.",
        "Der Link des Shops in den Warenkorb stimmt nicht. Bitte teilen Sie dem Shop mit, was unten steht.",
        "Le lien de la boutique vers le panier est incorrect. Veuillez transmettre à la boutique ce qui suit.",
        "El enlace de la tienda al carrito no es correcto. Comunique a la tienda lo que aparece abajo.";
    problem_form: "This form is out of date", "Dieses Formular ist veraltet", "Ce formulaire est périmé", "Este formulario ha caducado";
    problem_form_help: "Nothing was changed. Go back, load the page again, and make sure that your browser takes cookies from us.",
        "Es wurde nichts geändert. Gehen Sie zurück, laden Sie die Seite neu und sorgen Sie dafür, dass Ihr Browser unsere Cookies annimmt.",
        "Rien n’a été modifié. Revenez en arrière, rechargez la page et vérifiez que votre navigateur accepte nos cookies.",
        "No se ha cambiado nada. Vuelva atrás, cargue de nuevo la página y compruebe que su navegador acepta nuestras cookies.";
    problem_bad_request: "We do not understand this request", "Diese Anfrage ist unverständlich", "Requête incomprise", "No entendemos esta solicitud";
    problem_bad_request_help: "Nothing was changed. Go back and try again.", "Es wurde nichts geändert. Gehen Sie zurück und versuchen Sie es noch einmal.",
        "Rien n’a été modifié. Revenez en arrière et réessayez.", "No se ha cambiado nada. Vuelva atrás e inténtelo de nuevo.";
    problem_too_many: "Too many requests", "Zu viele Anfragen", "Trop de requêtes", "Demasiadas solicitudes";
    problem_too_many_help: "Wait a few seconds and load this page again.", "Warten Sie ein paar Sekunden und laden Sie diese Seite neu.",
        "Attendez quelques secondes puis rechargez cette page.", "Espere unos segundos y vuelva a cargar esta página.";
    problem_unavailable: "We cannot do this right now", "Das geht gerade nicht", "Impossible pour le moment", "Ahora mismo no es posible";
    problem_unavailable_help: "Your cart is kept. Wait a moment and load this page again: you are never charged twice.",
        "Ihr Warenkorb bleibt erhalten. Warten Sie einen Moment und laden Sie diese Seite neu: Ihnen wird nie doppelt berechnet.",
        "Votre panier est conservé. Attendez un instant puis rechargez cette page : vous ne serez jamais débité deux fois.",
        "Su carrito se conserva. Espere un momento y vuelva a cargar esta página: nunca se le cobra dos veces.";
    problem_internal: "Something went wrong on our side", "Auf unserer Seite ist etwas schiefgegangen", "Un problème est survenu de notre côté", "Algo ha fallado por nuestra parte";
    problem_internal_help: "Load this page again: you are never charged twice. If it goes on, tell the shop the number below.",
        "Laden Sie diese Seite neu: Ihnen wird nie doppelt berechnet. Bleibt es dabei, nennen Sie dem Shop die Nummer unten.",
        "Rechargez cette page : vous ne serez jamais débité deux fois. Si cela persiste, indiquez à la boutique le numéro ci-dessous.",
        "Vuelva a cargar esta página: nunca se le cobra dos veces. Si continúa, indique a la tienda el número de abajo.";
    problem_request: "Request number", "Anfragenummer", "Numéro de requête", "Número de solicitud";
    problem_load_again: "Load this page again", "Diese Seite neu laden", "Recharger cette page", "Volver a cargar esta página";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_fills_in_the_same() {
        let places = |text: &str| {
            let mut places: Vec<String> = text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            places.sort();
            places
        };
        for texts in ALL {
            for text in texts {
                assert!(!text.trim().is_empty() && text.trim() == *text, "{texts:?}");
                assert_eq!(places(text), places(texts[0]), "{texts:?}");
            }
        }
    }

    #[test]
    fn what_is_filled_in_is_not_filled_in_again() {
        assert_eq!(fill("a {x} b {y}", &[("x", "{y}"), ("y", "2")]), "a {y} b 2");
        assert_eq!(fill("{none}, {open", &[]), ", {open");
    }
}
