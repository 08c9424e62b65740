curl "https://pay.example.com/api/v1/tax/rates/?country=GB"
