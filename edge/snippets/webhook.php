<?php
$secret = getenv('WEBHOOK_SECRET'); // whsec_...
$body = file_get_contents('php://input');
$expected = 'sha256=' . hash_hmac('sha256', $body, $secret);
if (!hash_equals($expected, $_SERVER['HTTP_X_ANONYMOUSPAY_SIGNATURE'] ?? '')) {
    http_response_code(400);
    exit('wrong signature');
}
$event = json_decode($body, true);
error_log("{$event['event']} {$event['order_id']} {$event['status']}");
