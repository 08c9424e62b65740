-- HMAC-SHA-256 by OpenSSL, for nginx' Lua and Envoy's alike. Keyed once.
local ffi = require 'ffi'

ffi.cdef [[
typedef struct hmac_ctx_st HMAC_CTX;
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int key_len, const EVP_MD *md, void *engine);
int HMAC_Update(HMAC_CTX *ctx, const char *data, size_t len);
int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
]]

local digest = ffi.new 'unsigned char[32]'
local digest_len = ffi.new 'unsigned int[1]'

-- A function that makes codes with this secret, by this libcrypto.
return function(crypto, secret)
    local ctx = crypto.HMAC_CTX_new()
    assert(crypto.HMAC_Init_ex(ctx, secret, #secret, crypto.EVP_sha256(), nil) == 1)
    return function(text)
        -- Without a key it begins anew with the one that it has.
        crypto.HMAC_Init_ex(ctx, nil, 0, nil, nil)
        crypto.HMAC_Update(ctx, text, #text)
        crypto.HMAC_Final(ctx, digest, digest_len)
        return ffi.string(digest, 32)
    end
end
