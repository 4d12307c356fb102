"""The providers that the tests are about: whoever adds one to the product's catalogue breaks no test of another."""

from rapidfailover.catalog import PROVIDERS

NAMES = {
    "tiktok": ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"),
    "instagram": ("instagram-looter2", "instagram-stats"),
    "youtube": ("yt-api",),
    "twitter": ("the-old-bird",),
    "linkedin": ("linkedin-realtime", "linkedin-fresh"),
    "threads": ("threads-api4",),
}
CATALOGUE = {platform: [provider for provider in PROVIDERS[platform] if provider.name in names] for platform, names in NAMES.items()}
