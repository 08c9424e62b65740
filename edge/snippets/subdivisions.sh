curl "https://pay.example.com/api/v1/geo/subdivisions/?country=US"
