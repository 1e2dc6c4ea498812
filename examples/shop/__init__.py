"""An example application: a shop that hears from GitHub, Stripe and Shopify."""
