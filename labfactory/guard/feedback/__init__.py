"""The service that takes labels and joins them with the predictions they are about."""
