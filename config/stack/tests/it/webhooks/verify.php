<?php
// As verify.py, with PHP's own hash_hmac, for the header of the page.
[, $secret, $file] = $argv;
$accepts = fn (string $body, string $signature): bool => hash_equals('sha256=' . hash_hmac('sha256', $body, $secret), $signature);

$count = 0;
foreach (file($file) as $line) {
    $delivery = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
    $body = base64_decode($delivery['body'], true);
    $signature = $delivery['headers']['x-anonymouspay-signature'];
    $changed = $body;
    $at = ($count * 7) % strlen($body);
    $changed[$at] = chr(ord($body[$at]) ^ (1 << ($count % 8)));
    if (!$accepts($body, $signature)) {
        fwrite(STDERR, "delivery $count is refused\n");
        exit(1);
    }
    if ($accepts($changed, $signature)) {
        fwrite(STDERR, "delivery $count, changed, is accepted\n");
        exit(1);
    }
    $count++;
}
echo "$count\n";
