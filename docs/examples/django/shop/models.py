"""An order, and who has ordered."""

from django.conf import settings
from django.db import models


class Order(models.Model):
    buyer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    shipped = models.BooleanField(default=False)
