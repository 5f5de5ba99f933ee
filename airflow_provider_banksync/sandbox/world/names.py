"""The texts and numbers that the world is generated from. Data only."""

from __future__ import annotations

from airflow_provider_banksync.sandbox.world.model import Country, Currency

USD = Currency("USD", 2, (1, 1))
GBP = Currency("GBP", 2, (4, 5))
EUR = Currency("EUR", 2, (9, 10))
AUD = Currency("AUD", 2, (3, 2))
# Yen have no decimals, and Kuwaiti dinars have three. They find code that assumes two.
JPY = Currency("JPY", 0, (3, 2))
KWD = Currency("KWD", 3, (3, 1))

US = Country(USD, ("plaid",), ("Chase", "Bank of America", "Wells Fargo", "Citibank", "Charles Schwab"))
COUNTRIES = (
    US,
    Country(GBP, ("plaid",), ("Barclays", "Lloyds Bank", "NatWest", "Monzo", "HSBC UK")),
    Country(
        EUR, ("plaid", "saltedge"), ("Deutsche Bank", "Commerzbank", "N26", "Sparkasse Köln", "ING-DiBa")
    ),
    Country(AUD, ("basiq", "fiskil"), ("Commonwealth Bank", "Westpac", "ANZ", "NAB", "Macquarie Bank")),
    Country(
        JPY, ("saltedge",), ("三菱UFJ銀行", "三井住友銀行", "みずほ銀行", "Rakuten Bank", "ゆうちょ銀行")
    ),
    Country(
        KWD, ("saltedge",), ("National Bank of Kuwait", "Kuwait Finance House", "Gulf Bank", "بنك بوبيان")
    ),
    Country(EUR, ("plaid",), ("BNP Paribas", "Société Générale", "Crédit Agricole", "La Banque Postale")),
)

FIRMS = (
    "Harbour & Lane Accounting", "Northgate Bookkeeping Partners", "Meridian Ledger Group",
    "Fairweather Chartered Accountants", "Oakridge Advisory",
)  # fmt: skip
FIRST_WORDS = (
    "Amber", "Anchor", "Birch", "Blue Door", "Bright", "Brook", "Cedar", "Clover", "Copper", "Coral", "Crown",
    "Dover", "Eastside", "Ember", "Evergreen", "Falcon", "Fern", "Foxglove", "Granite", "Harvest", "Hazel",
    "Highfield", "Indigo", "Ivory", "Juniper", "Kestrel", "Lakeview", "Lantern", "Larch", "Lighthouse", "Linden",
    "Maple", "Marigold", "Mason", "Millstone", "Nightingale", "Noble", "Orchard", "Pebble", "Pioneer", "Quarry",
    "Raven", "Redwood", "Riverside", "Saffron", "Sparrow", "Summit", "Thistle", "Union", "Willow",
)  # fmt: skip
SECOND_WORDS = (
    "Bakery", "Books", "Brewing", "Builders", "Catering", "Ceramics", "Childcare", "Clinic", "Coffee", "Consulting",
    "Cycles", "Dental", "Design", "Electric", "Events", "Farms", "Fitness", "Florists", "Foods", "Freight",
    "Furniture", "Games", "Gardens", "Glass", "Hotels", "Interiors", "Joinery", "Kitchens", "Labs", "Law",
    "Logistics", "Media", "Motors", "Optics", "Pharmacy", "Plumbing", "Roofing", "Software", "Studio", "Textiles",
)  # fmt: skip
LEGAL_FORMS = ("Ltd", "LLC", "Inc", "& Sons", "Group", "Co-op", "Pty Ltd", "GmbH")
# Names that break code that expects ASCII, safe file names, safe CSV cells or left-to-right text.
AWKWARD_NAMES = (
    "Café Zoë 🥐", "شركة النور للتجارة", "Łódzkie Młyny Sp. z o.o.", "さくら商店", 'Smith / Jones "Partners"',
    "מאפיית לחם חם", "=Formula Racing", "Ünal Döner & Söhne", "Naïve, Comma; & Co", "👩‍🚀 Orbit Kids",
    "Bjørk Ægir ApS", "O'Brien's Pub",
)  # fmt: skip
ICONS = ("🏢", "🌿", "🍞", "🔧", "🚚", "🎨")

MERCHANTS = (
    ("Shell 0482", "Fuel", 2_500, 9_500),
    ("Costa Coffee", "Meals", 350, 1_900),
    ("Amazon Marketplace", "Office supplies", 800, 21_000),
    ("Uber Trip", "Travel", 700, 4_800),
    ("Staples", "Office supplies", 1_200, 16_000),
    ("Adobe Creative Cloud", "Software", 5_499, 5_499),
    ("Zoom Video", "Software", 1_599, 1_599),
    ("FedEx", "Shipping", 900, 8_000),
    ("Trattoria Nonna", "Meals", 2_400, 14_000),
    ("City Parking", "Travel", 200, 2_600),
    ("Métro Cash & Carry", "Inventory", 9_000, 95_000),
    ("Würth GmbH", "Inventory", 4_000, 60_000),
)
MERCHANT_NAMES = {
    "Shell 0482": "Shell", "Costa Coffee": "Costa Coffee", "Amazon Marketplace": "Amazon", "Uber Trip": "Uber",
    "Staples": "Staples", "Adobe Creative Cloud": "Adobe", "Zoom Video": "Zoom", "FedEx": "FedEx",
    "Trattoria Nonna": "Trattoria Nonna", "City Parking": "City Parking", "Métro Cash & Carry": "Métro",
    "Würth GmbH": "Würth",
}  # fmt: skip
"""The names of the merchants, by description."""
OTHER_CATEGORIES = ("Office supplies", "General expenses", "Uncategorized", "Equipment")
CUSTOMERS = (
    "Stripe payout", "Square deposit", "Invoice 2041 Hartmann KG", "PayPal transfer", "Customer payment",
)  # fmt: skip
STAFF = ("A. Novak", "J. O'Neill", "M. García", "S. Yamada", "L. Schäfer")
SECURITIES = (
    ("AAPL", "Apple Inc.", 21_340, 4),
    ("VOO", "Vanguard S&P 500 ETF", 48_125, 6),
    ("BND", "Vanguard Total Bond Market", 7_283, 3),
    ("MSFT", "Microsoft Corp.", 41_690, 4),
    # Coins have 18 decimals. No float has such a quantity exactly.
    ("ETH", "Ether", 264_519, 18),
)
"""Symbol, name, price in US cents, decimals of a quantity."""

#: The firm's first feed. README.md names it in its first DAG.
FIRM_FEED = "Current account to Notion"
DESTINATIONS = {
    "notion": ("Notion", "https://cdn.banksync.example/icons/notion.svg"),
    "google_sheets": ("Google Sheets", "https://cdn.banksync.example/icons/google-sheets.svg"),
    "airtable": ("Airtable", "https://cdn.banksync.example/icons/airtable.svg"),
}
