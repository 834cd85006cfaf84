"""The arithmetic of pJSD: phones in; value, interval, floor and test out. numpy and scipy."""
