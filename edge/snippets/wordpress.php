// functions.php; in wp-config.php: define('EPAY_API_KEY', 'sk_live_...');
add_action('wp_ajax_create_checkout', 'create_checkout');
add_action('wp_ajax_nopriv_create_checkout', 'create_checkout');

function create_checkout() {
    $response = wp_remote_post(
        'https://pay.example.com/api/v1/stores/my-store/checkout/session/',
        [
            'headers' => [
                'Authorization' => 'Bearer ' . EPAY_API_KEY,
                'Content-Type'  => 'application/json',
            ],
            'body' => json_encode([
                'cart'     => ['WIN-11-PRO' => 1],
                'currency' => 'GBP',
            ]),
        ]
    );
    if (is_wp_error($response) || wp_remote_retrieve_response_code($response) !== 201) {
        wp_send_json_error('The checkout cannot be reached. Please try again.', 502);
    }
    wp_send_json(json_decode(wp_remote_retrieve_body($response)));
}
